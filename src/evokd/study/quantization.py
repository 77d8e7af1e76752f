"""What the teacher loses by its quantized weights, measured and said once."""

from __future__ import annotations

from typing import Any

from evokd.study.context import Study
from evokd.study.places import System


def measure_quantization(study: Study, teacher: System) -> dict[str, Any]:
    """How far the quantized teacher is from itself in full, on validation text.

    The two never stand in memory together.

    Returns:
        What was measured, as `teacher_quantized`; nothing where nothing is quantized or there is no
        validation text.
    """
    bits = study.recipe.teacher.quantize
    if bits == "none" or not study.corpus.valid:
        return {}
    made_of = {"teacher": teacher.fingerprint, "text": study.text_hashes()}
    stage = study.stage("loss by quantization", study.paths.quantized, made_of)
    if study.is_done(stage):
        facts = study.facts(stage)
        return {"teacher_quantized": facts} if facts else {}
    from evokd.distil.teacher.quantization_error import divergence, word_of
    from evokd.models.encoded import collate, encode_corpus
    from evokd.models.quantized import format_of

    stage.begin()
    study.release_teacher()
    pairs, prompt = study.diagnosed_pairs, study.prompt
    data, _ = encode_corpus(pairs, study.teacher_tokenizer, prompt)
    examples = [data[number] for number in range(len(data))]
    batches = [
        {name: one.to(study.device) for name, one in collate(examples[i : i + 32]).items()}
        for i in range(0, len(examples), 32)
    ]
    full = study.load_teacher("none").model
    exact, exact_format = word_of(full, batches), format_of(full)
    exact_mib = full.get_memory_footprint() / 2**20
    del full
    quantized = study.teacher.model
    facts = divergence(exact, word_of(quantized, batches)) | {
        "format": format_of(quantized),
        "exact_format": exact_format,
        "mib": round(quantized.get_memory_footprint() / 2**20, 1),
        "exact_mib": round(exact_mib, 1),
    }
    study.log(words_of(facts))
    stage.finish(facts)
    return {"teacher_quantized": facts}


def words_of(facts: dict[str, Any]) -> str:
    """What was measured, in a line."""
    return (
        f"teacher in {facts['format']}: {facts['mib']:,.1f} MiB of weights for "
        f"{facts['exact_mib']:,.1f}; KL({facts['exact_format']} ‖ {facts['format']}) on "
        f"{facts['tokens']} tokens of validation {facts['kl']:.3g} nats on average, at most "
        f"{facts['kl_max']:.3g}; the likeliest token is the same for {facts['same_best']:.2%}"
    )
