"""The stage that runs the teacher once for all students, and measures what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evokd import processes
from evokd.recipe.methods import MethodSettings, TrainingText
from evokd.recipe.objectives import TEXT_PRESETS
from evokd.recipe.recipe import Recipe
from evokd.rundir.integrity import MANIFEST
from evokd.rundir.stage import Stage, manifest_in
from evokd.study.context import Study
from evokd.study.places import System
from evokd.study.systems import load_for_training
from evokd.study.token_ids import encoded

LARGE_ERROR = 0.05
"""Mean error of d, as a share of the mean d, above which a top-k cache isn't called a good one."""


def make_cache(
    study: Study,
    teacher: System,
    init: System | None,
    texts: Mapping[str, Stage],
    check: bool = False,
) -> Stage:
    """The teacher's signal for all training and validation pairs, in files.

    A cache that was cut off, or that lacks pairs, is gone on with. One of another teacher,
    tokenizer or prompt is made anew.

    Args:
        init: the students' start, where its tokens are only a part of the teacher's.
        texts: the stages in which the teacher wrote training text, by kind.
        check: read all of a finished cache, and make what is damaged again.
    """
    settings, folder = study.recipe.teacher, study.cache_folder()
    prunes = study.recipe.student.prunes_vocabulary
    made_of = {
        "signal": folder.name,
        "text": study.text_hashes(),
        "teacher": teacher.fingerprint,
        "prompt": vars(study.prompt),
        "max_length": _max_length(study),
        "training text": {
            kind: texts[kind].fingerprint if kind in texts else "as it is"
            for kind in cached_texts(study.recipe)
        },
        "tokens of": init.fingerprint if prunes and init else None,
    }
    stage = study.stage(f"cache {folder.name}", folder, made_of)
    from evokd.distil.teacher.cache_reader import INDEX, CacheIndex
    from evokd.distil.teacher.precompute import cache_spec, write_cache, write_shared_cache

    done = study.is_done(stage)
    if done and not (check and _drop_damaged(study, folder, thorough=True)):
        return stage
    model = study.teacher.model
    spec = cache_spec(model, "topk" if settings.signal == "topk" else "hidden", settings.top_k)
    identity = study.teacher_identity()

    def goes_on(folder: Path) -> bool:
        return (folder / INDEX).exists() and not CacheIndex(folder).changes(spec, identity)

    if not done:
        finished = bool(manifest_in(folder))
        if goes_on(folder):
            _drop_damaged(study, folder, thorough=finished)
    stage.begin(goes_on)
    data = _data_sets(study)
    if processes.count() == 1:
        facts = write_cache(folder, model, data, spec, identity, log=study.log)
    else:

        def share(places: Any) -> None:
            processes.shared(_write_part, study, places, spec, identity)

        facts = write_shared_cache(folder, model, data, spec, identity, share, study.log)
    stage.finish(facts)
    study.log(f"{stage.name}: {describe_size(facts)}")
    return stage


def _write_part(study: Study, places: Any, spec: Any, identity: dict[str, str]) -> None:
    """What one of several processes writes of a cache."""
    from evokd.distil.teacher.precompute import write_part

    teacher, data = study.teacher.model, _data_sets(study)
    write_part(study.cache_folder(), processes.number(), teacher, data, places, spec, identity)


def check_cache(study: Study, cache: Stage, init: System) -> None:
    """How far a top-k cache is off, measured with the student at its start on validation pairs."""
    if study.recipe.teacher.signal != "topk" or not study.corpus.valid:
        return
    stage = study.stage(
        "error of the cache",
        study.cache_folder().with_name(f"{study.cache_folder().name}.error"),
        {"cache": cache.fingerprint, "start": init.fingerprint},
    )
    if study.is_done(stage):
        return
    from evokd.distil.teacher.topk_error import measure_error
    from evokd.models.encoded import collate

    stage.begin()
    student, source = load_for_training(study, init), study.teacher_source
    examples = _diagnosed_examples(study, study.student_tokenizer)
    padded = (collate(examples[i : i + 32]) for i in range(0, len(examples), 32))
    gated = (m for m in study.recipe.methods if m.objective == "self_evolution")
    method = next(gated, MethodSettings(name="noevo", objective="noevo"))
    facts = measure_error(
        source.signal,
        study.teacher.model,
        student.model,
        ({k: v.to(study.device) for k, v in batch.items()} for batch in padded),
        source.shared_vocabulary(student).size,
        method.in_force()[1],
    )
    facts |= {k: v for k, v in cache.facts().items() if k.startswith("tail")}
    bound, error, difficulty = (facts[k] for k in ("bound_mean", "error_mean", "mean_difficulty"))
    study.log(
        f"{cache.name}: {facts['tail_mass']:.2%} of the teacher's mass is beyond the top k (at "
        f"most {facts['tail_mass_max']:.0%} of a token's); difficulty is off by "
        f"{error:.5f} nats on average (at most {facts['error_max']:.3f}"
        + ("" if bound is None else f"; bound {bound:.5f} on average")
        + f"), mean difficulty {difficulty:.3f}; {facts['flipped_share']:.2%} of the tokens change "
        f"sides at {facts['gamma']}"
    )
    if error > LARGE_ERROR * difficulty:
        study.log(
            f"warning: that is {error / difficulty:.0%} of the mean difficulty; "
            "teacher.signal=hidden is exact, a larger teacher.top_k is closer"
        )
    stage.finish(facts)


def describe_size(facts: dict[str, Any]) -> str:
    """One line about what a cache holds."""
    from evokd.distil.teacher.precompute import PUBLISHED

    return (
        f"{facts['pairs']} pairs, {facts['tokens']} response tokens, {facts['mib']} MiB, "
        f"{facts['bytes_per_token']} bytes a response token ({PUBLISHED})"
    )


def cached_texts(recipe: Recipe) -> list[TrainingText]:
    """Kinds of training text for which methods need the teacher's signal; NLL doesn't."""
    texts = {m.text for m in recipe.methods if m.kind() not in TEXT_PRESETS}
    return sorted({"reference" if text == "filtered" else text for text in texts})


def _data_sets(study: Study) -> list[Any]:
    """Under the teacher's ids, cut into tokens as students cut them: one that knows fewer tokens
    spells what the teacher writes beyond them in smaller ones."""
    pruned = study.pruned_vocabulary()
    tokenizer = study.student_tokenizer if pruned is None else pruned[0]
    splits: list[str] = [*cached_texts(study.recipe), *(["valid"] if study.corpus.valid else [])]
    data = [encoded(study, split, tokenizer, _max_length(study)) for split in splits]
    if study.corpus.valid:
        data.append(_diagnosed_examples(study, tokenizer))
    if pruned is None:
        return data
    from evokd.distil.teacher.sliced import RemappedDataset

    return [RemappedDataset(examples, pruned[1]) for examples in data]


def _diagnosed_examples(study: Study, tokenizer: Any) -> list[dict[str, Any]]:
    """The pairs that are diagnosed, however long they are."""
    from evokd.models.encoded import encode_corpus

    data, _ = encode_corpus(study.diagnosed_pairs, tokenizer, study.prompt)
    return [data[i] for i in range(len(data))]


def _max_length(study: Study) -> int:
    """Of all trainings of students."""
    return max(kind.training.max_length for kind in study.recipe.students().values())


def _drop_damaged(study: Study, folder: Path, thorough: bool) -> bool:
    """Take damaged files out of a cache; whether there were any."""
    from evokd.distil.teacher.cache_reader import CacheIndex

    index = CacheIndex(folder)
    damaged = index.damaged_files(thorough)
    for problem in damaged.values():
        study.log(f"cache: {problem}; what it held is computed again")
    if damaged:
        (folder / MANIFEST).unlink(missing_ok=True)  # first, or a kill leaves gaps that are "done"
        index.drop_files(damaged)
    return bool(damaged)
