"""The stage in which the teacher writes text for students: it translates the training sources.

In RUN/teacher_text/KIND, where KIND is `teacher` (the best translation of each sentence) or
`nearest` (of the K best the one nearest to the reference):

    shards/*.jsonl        the teacher's hypotheses, a sentence a line: source, texts, scores
    pairs.jsonl           the training pairs that this makes
    DIRECTION.src, .hyp   the same as plain text, each pair once
    left_out.json         what of it nobody should be trained on, with counts and examples

Shards depend on the teacher, the prompt and how it decodes: a killed run goes on behind the last
one, and when the text changes only new sentences are translated. Where both kinds are asked for
with beams of the same size, one search serves both.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from evokd import processes
from evokd.data.cleaning import CleaningReport
from evokd.data.corpus import UNPAIRED
from evokd.data.hypotheses import LEFT_OUT, Candidate, reason_to_leave_out
from evokd.data.pairs import Pair, write_pairs
from evokd.errors import InputError
from evokd.evaluate.scores import Similarity, nearest, sentence_bleu
from evokd.progress import progress_bar
from evokd.recipe.judging import DecodingSettings
from evokd.recipe.methods import TeacherText
from evokd.rundir.files import (
    fingerprint,
    hash_file,
    read_json,
    read_made_of,
    write_json,
    write_lines,
    write_sealed,
)
from evokd.rundir.stage import Stage
from evokd.study import teacher_shards
from evokd.study.context import PAIRS, Study
from evokd.study.places import System
from evokd.study.teacher_shards import (
    Hypotheses,
    Sentence,
    next_number,
    read_shards,
    split,
    write_shard,
)

PROBE_SENTENCES = 16
"""Translated first where there is more than a shard to do, to tell how long that will take."""
ENGINE = "engine.json"
"""Beside the shards: what wrote them, where it wasn't evokd's own decoder."""
MANY = 0.1
"""Share of pairs left out above which something is wrong with the teacher."""


def make_teacher_text(study: Study, teacher: System, kind: TeacherText) -> Stage:
    """Let the teacher translate the training sources (kind teacher: and the unpaired text).

    Raises:
        InputError: nothing to translate, nothing fit to train on, no BLEU for a target language.
    """
    folder, settings = study.paths.teacher_text / kind, study.recipe.teacher_text
    decoding, count = _decoding(study, kind)
    search = {
        "teacher": teacher.fingerprint,
        "prompt": vars(study.prompt),
        "decoding": decoding.identity(exclude={"batch_size", "batch_tokens"}),
        "candidates": count,
    }
    made_of = {"text": _text_hashes(study, kind), "max_length_ratio": settings.max_length_ratio}
    stage = study.stage(f"teacher text ({kind})", folder, {**search, **made_of})
    if study.is_done(stage):
        return stage
    pairs = [*study.corpus.train, *(study.corpus.unpaired if kind == "teacher" else [])]
    if not pairs:
        raise InputError(
            "text: nearest needs references, and corpus.train holds none; take text: teacher"
        )
    targets = dict.fromkeys(pair.target_language for pair in pairs)
    # Before any hour is spent: a language may need a tokenizer that isn't installed.
    similarity = {code: sentence_bleu(code) for code in targets if kind == "nearest"}
    shards = _shards_folder(study, stage, kind, fingerprint(search))
    hypotheses = _translate(study, stage, shards, pairs, decoding, count)
    if study.part_of(stage) is not None:
        return stage
    for path in shards.glob(".*.draft"):  # of a process that was killed over it
        path.unlink()
    if kind == "teacher":
        hypotheses = {sentence: best[:1] for sentence, best in hypotheses.items()}
    fit, left_out = _filter(pairs, hypotheses, settings.max_length_ratio)
    if not fit:
        raise InputError(
            f"{stage.name}: none of its translations is fit to train on ({_counted(left_out)}); "
            f"see {shards}. Is the teacher fine-tuned for this task (teacher.sft), "
            "with this prompt?"
        )
    chosen, gain = _choose(fit, similarity)
    _write(folder, [chosen[pair] for pair in pairs if pair in chosen], left_out)
    facts = {
        "beam": decoding.beam,
        "candidates": count,
        **_counts([hypotheses[sentence] for sentence in _sentences(pairs)]),
        "pairs": len(chosen),
        "left_out": {reason: tally.count for reason, tally in left_out.reasons.items()},
        **gain,
        **({"engine": read_json(shards / ENGINE)} if (shards / ENGINE).exists() else {}),
        "mib": round(sum(f.stat().st_size for f in folder.rglob("*.*")) / 2**20, 2),
    }
    stage.finish(facts)
    _log_outcome(study, stage, left_out, facts)
    return stage


def summary(stage: Stage) -> dict[str, Any]:
    """Of a finished stage, for the report: its facts, and what was left out with examples."""
    return {**stage.facts(), "sifted": read_json(stage.folder / LEFT_OUT)}


def _decoding(study: Study, kind: TeacherText) -> tuple[DecodingSettings, int]:
    """How the teacher decodes, and how many translations of a sentence are kept."""
    settings = study.recipe.teacher_text
    beam, count = settings.beam, 1
    both = set(study.recipe.texts()) == set(get_args(TeacherText))
    if kind == "nearest" or (both and beam == settings.candidates):  # one search serves both
        beam = count = settings.candidates
    return study.recipe.decoding.model_copy(update={"beam": beam}), count


def _text_hashes(study: Study, kind: TeacherText) -> list[str]:
    """Of the text that this depends on; validation and test sets aren't translated, and what the
    references say matters only where one near to them is chosen."""
    train, unpaired = study.paths.corpus / "train.jsonl", study.paths.corpus / UNPAIRED
    if kind == "nearest":
        return [hash_file(train)]
    sources = [(pair.direction, pair.source, pair.origin) for pair in study.corpus.train]
    return [fingerprint(sources), *([hash_file(unpaired)] if unpaired.exists() else [])]


def _shards_folder(study: Study, stage: Stage, kind: TeacherText, search: str) -> Path:
    """Where hypotheses are kept: with those of the other kind, if they are of the same search."""

    def has_shards(folder: Path) -> bool:
        return read_made_of(folder / "shards/made.json", search) is not None

    texts = study.paths.teacher_text
    kinds = sorted(get_args(TeacherText), key=kind.__eq__)  # its own last
    held = study.claimed(stage.name, f"{stage.place}/shards")  # from others with parts of it
    try:
        if study.part_of(stage) is None or not any(has_shards(texts / one) for one in kinds):
            stage.begin(goes_on=has_shards)
        there = next((texts / one for one in kinds if has_shards(texts / one)), None)
        if there is not None:
            return there / "shards"
        write_sealed(stage.folder / "shards/made.json", {"fingerprint": search})
        return stage.folder / "shards"
    finally:
        held.release()


def _translate(
    study: Study,
    stage: Stage,
    folder: Path,
    pairs: Sequence[Pair],
    decoding: DecodingSettings,
    count: int,
) -> Hypotheses:
    """The teacher's hypotheses for each source, as far as they aren't in the shards yet; where a
    part is asked for, of that."""

    def damaged(path: Path) -> None:
        study.log(f"{stage.name}: {path} is damaged; what it held is translated again")

    hypotheses = read_shards(folder, damaged)
    directions = list(dict.fromkeys(pair.direction for pair in pairs))
    sentences = sorted(_sentences(pairs), key=lambda sentence: directions.index(sentence[0]))
    part = study.part_of(stage)
    sentences = sentences if part is None else part.of(sentences)
    prefix = "" if part is None else f"{part}-"
    missing = [sentence for sentence in sentences if sentence not in hypotheses]
    if not missing:
        return hypotheses
    if known := len(sentences) - len(missing):
        study.log(f"{stage.name}: {known} sentences are there, gone on with")
    from evokd.translate.engines.engine import started

    with started(study.teacher, decoding) as engine:
        _compare_with_own(study, folder, missing, decoding, engine)
        ask = partial(_candidates, study, decoding, count, engine)
        study.log(
            f"{stage.name}: {len(missing)} sentences, {decoding.beam} beams"
            + (f", {count} translations of each" if count > 1 else "")
            + _estimate(missing, ask)
        )
        show, done = progress_bar(stage.name), 0
        first = next_number(folder, prefix)
        for number, shard in enumerate(split(missing), start=first):

            def report(lines: int, _: int, before: int = done) -> None:
                show(before + lines, len(missing))

            best = ask(shard, report)
            write_shard(folder / f"{prefix}{number:05d}.jsonl", best)
            hypotheses |= best
            done += len(shard)
    return hypotheses


def _compare_with_own(
    study: Study,
    folder: Path,
    missing: Sequence[Sentence],
    decoding: DecodingSettings,
    engine: Any,
) -> None:
    """Before any hour is spent: an engine's text of each direction beside that of our own decoder.
    What was found stands beside the shards; nothing of evokd's own."""
    if engine is None:
        return
    from evokd.translate.engines.agreement import engine_facts

    noted = read_json(folder / ENGINE) if (folder / ENGINE).exists() else {}
    for direction in dict.fromkeys(direction for direction, _ in missing):
        lines = [source for own, source in missing if own == direction]
        noted[direction] = engine_facts(
            engine, study.teacher, lines, direction, decoding, study.log
        )
    write_json(folder / ENGINE, noted)


def _candidates(
    study: Study,
    decoding: DecodingSettings,
    count: int,
    engine: Any,
    sentences: Sequence[Sentence],
    progress: Callable[[int, int], None] | None = None,
) -> Hypotheses:
    """Of sentences of one direction, shared out where there are several processes; an engine is the
    first one's alone."""
    if engine is None and processes.count() > 1:
        parts = processes.shared(_candidates_part, study, sentences, decoding, count)
        best = processes.in_order(parts)
        if progress is not None:
            progress(len(sentences), len(sentences))
    else:
        best = _candidates_part(study, sentences, decoding, count, engine, progress)
    return dict(zip(sentences, best, strict=True))


def _candidates_part(
    study: Study,
    sentences: Sequence[Sentence],
    decoding: DecodingSettings,
    count: int,
    engine: Any = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[list[Candidate]]:
    from evokd.translate.nbest import candidates

    if not sentences:
        return []
    sources = [source for _, source in sentences]
    source, target = sentences[0][0].split("-")
    return candidates(study.teacher, sources, source, target, decoding, count, progress, engine)


def _estimate(missing: Sequence[Sentence], ask: Callable[[list[Sentence]], Hypotheses]) -> str:
    """How long it will take, from some sentences of all lengths; nothing where that is soon seen.

    Sentences of two or more directions are tried as if they were of one: the time is the same.
    """
    if len(missing) <= teacher_shards.SHARD_SENTENCES:
        return ""
    direction = missing[0][0]
    by_length = sorted((source for _, source in missing), key=len)
    sample = by_length[:: -(-len(by_length) // PROBE_SENTENCES)]
    probe = [(direction, source) for source in sample]
    ask(probe[:1])  # the first call of all takes longer
    start = time.perf_counter()
    ask(probe)
    minutes = (time.perf_counter() - start) * len(missing) / len(probe) / 60
    duration = f"{minutes / 60:.1f} hours" if minutes >= 90 else f"{max(1, round(minutes))} min"
    return f"; about {duration} from a sample of {len(probe)}"


def _filter(
    pairs: Sequence[Pair], hypotheses: Hypotheses, max_length_ratio: float
) -> tuple[dict[Pair, list[Pair]], CleaningReport]:
    """For each pair its source's translations that are fit to train on, if there are any; and the
    pairs that go without, with what is wrong with the first translation."""
    fit, left_out = {}, CleaningReport()
    for pair in dict.fromkeys(pairs):
        left_out.read += 1
        candidates = hypotheses[pair.direction, pair.source]
        written = [(replace(pair, target=one.text), one.stopped_by) for one in candidates]
        reasons = [reason_to_leave_out(*each, max_length_ratio) for each in written]
        good = [each for (each, _), reason in zip(written, reasons, strict=True) if not reason]
        if good:
            fit[pair] = good
        else:
            left_out.drop(str(reasons[0]), written[0][0])
    return fit, left_out


def _choose(
    fit: Mapping[Pair, Sequence[Pair]], similarity: Mapping[str, Similarity]
) -> tuple[dict[Pair, Pair], dict[str, Any]]:
    """The teacher's favourite for each pair, or, with similarities by language, the translation
    that is nearest to the reference; and what that brought."""
    if not similarity:
        return {pair: good[0] for pair, good in fit.items()}, {}
    chosen: dict[Pair, Pair] = {}
    before, after = [], []
    show = progress_bar("nearest to the references")
    for number, (pair, good) in enumerate(fit.items(), start=1):
        near = similarity[pair.target_language]
        place, score = nearest([each.target for each in good], pair.target, near)
        chosen[pair] = good[place]
        before.append(near(good[0].target, pair.target))
        after.append(score)
        show(number, len(fit))
    return chosen, {
        "bleu_of_best": round(statistics.fmean(before), 2),
        "bleu_of_nearest": round(statistics.fmean(after), 2),
        "not_the_best": sum(good[0] != chosen[pair] for pair, good in fit.items()),
    }


def _counts(hypotheses: Sequence[Sequence[Candidate]]) -> dict[str, Any]:
    """What was translated. `mass_of_best`: the mean probability of the first translation, in
    percent; Kim and Rush (2016) found 1.3 % (En-De) and 2.3 % (Th-En)."""
    masses = [math.exp(candidates[0].log_probability) for candidates in hypotheses]
    return {
        "sentences": len(hypotheses),
        "hypotheses": sum(len(candidates) for candidates in hypotheses),
        "tokens": sum(one.tokens for candidates in hypotheses for one in candidates),
        "mass_of_best": round(100 * statistics.fmean(masses), 4),
    }


def _write(folder: Path, pairs: Sequence[Pair], left_out: CleaningReport) -> None:
    write_json(folder / LEFT_OUT, left_out.as_dict())
    for path in [*folder.glob("*.src"), *folder.glob("*.hyp")]:
        path.unlink()
    for direction in dict.fromkeys(pair.direction for pair in pairs):
        once = [pair for pair in dict.fromkeys(pairs) if pair.direction == direction]
        write_lines(folder / f"{direction}.src", (pair.source for pair in once))
        write_lines(folder / f"{direction}.hyp", (pair.target for pair in once))
    write_pairs(folder / PAIRS, pairs)


def _log_outcome(
    study: Study, stage: Stage, left_out: CleaningReport, facts: dict[str, Any]
) -> None:
    study.log(
        f"{stage.name}: {facts['pairs']} pairs from {facts['sentences']} sentences, "
        f"{facts['mib']} MiB; left out: {_counted(left_out)}"
    )
    if "bleu_of_nearest" in facts:
        study.log(
            f"{stage.name}: {facts['bleu_of_nearest']} sentence BLEU with the references, the "
            f"teacher's first choices {facts['bleu_of_best']}; {facts['not_the_best']} pairs took "
            "another than the first"
        )
    if left_out.read - left_out.kept > MANY * left_out.read:
        study.log(
            f"warning: {1 - left_out.kept / left_out.read:.0%} of the pairs have no translation "
            f"that is fit to train on; {stage.folder / LEFT_OUT} shows some"
        )


def _counted(left_out: CleaningReport) -> str:
    return ", ".join(f"{reason} {n.count}" for reason, n in left_out.reasons.items()) or "none"


def _sentences(pairs: Iterable[Pair]) -> list[Sentence]:
    """Each once."""
    return list(dict.fromkeys((pair.direction, pair.source) for pair in pairs))
