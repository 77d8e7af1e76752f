"""The stage that drops training pairs whose targets the teacher disbelieves.

    filtered/pairs.jsonl     what is left of the training text
    filtered/left_out.json   what isn't, with counts and examples
    surprisal/TEACHER/NNNNN.json   what the teacher says of the pairs, SHARD at a time

What the teacher says depends on itself and the prompt: a killed run goes on behind the last shard,
the check before training has scored some of the pairs already, and another threshold costs nothing.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from evokd.data.cleaning import CleaningReport
from evokd.data.hypotheses import LEFT_OUT
from evokd.data.noise import add_noise
from evokd.data.pairs import Pair, take, write_pairs
from evokd.errors import InputError
from evokd.progress import progress_bar
from evokd.recipe.corpus import NoiseSettings, TeacherFilter
from evokd.rundir.files import fingerprint, read_sealed, write_json, write_sealed
from evokd.rundir.stage import Stage
from evokd.study.context import PAIRS, Study
from evokd.study.places import System

SHARD = 2048
Scored = tuple[Pair, tuple[float, float, float]]
FEW = 50
"""Pairs of a direction, right ones or to be judged, below which they say little."""
UNTOLD = {"share": None, "threshold": None}
"""What is known of a direction that the teacher can't judge."""
SHUFFLED = 1000
"""Pairs of each direction whose targets are shuffled, to see how the teacher takes wrong ones."""


def make_filtered_text(study: Study, teacher: System) -> Stage:
    """The training text without what is likelier wrong than right, or beyond a threshold.

    Raises:
        InputError: nothing is left.
    """
    settings = study.recipe.corpus.cleaning.by_teacher
    made_of = {
        "text": study.text_hashes(),
        "teacher": teacher.fingerprint,
        "prompt": vars(study.prompt),
        "by_teacher": vars(settings),
        "held_out": study.recipe.corpus.held_out,
    }
    stage = study.stage("filtered text", study.paths.filtered, made_of)
    if study.is_done(stage):
        return stage
    stage.begin()
    pairs, unseen = list(dict.fromkeys(study.corpus.train)), set(study.unseen)
    bad, facts = disbelieved(study, teacher, study.unseen)
    seen = [pair for pair in pairs if pair not in unseen]
    if study.recipe.corpus.held_out or settings.threshold is not None:
        bad |= _as_many_of_others(study, teacher, seen, facts)
    for pair in pairs:
        facts["wrong"].setdefault(pair.direction, dict(UNTOLD))
    left_out = CleaningReport(read=len(pairs))
    for pair in pairs:
        if pair in bad:
            left_out.drop("disbelieved", pair)
    if len(bad) == len(pairs):
        why = "is it fine-tuned for this task (teacher.sft), with this prompt?"
        if settings.threshold is not None:
            why = f"cleaning.by_teacher.threshold is {settings.threshold}; take a larger one"
        raise InputError(f"{stage.name}: the teacher disbelieves all {len(pairs)} pairs; {why}")
    write_pairs(stage.folder / PAIRS, [pair for pair in study.corpus.train if pair not in bad])
    write_json(stage.folder / LEFT_OUT, left_out.as_dict())
    facts |= {"pairs": left_out.kept, "left_out": {"disbelieved": len(bad)}}
    stage.finish(facts)
    told = {d: one["share"] for d, one in facts["wrong"].items()}
    shares = ", ".join(f"{d} {'?' if s is None else f'{s:.0%}'}" for d, s in told.items()) or "?"
    study.log(
        f"{stage.name}: {len(bad)} of {len(pairs)} pairs left out; estimated to be wrong: {shares}"
    )
    if None in told.values():
        study.log(
            f"warning: {stage.name}: where there is a ? too few pairs are new to the teacher "
            "(corpus.held_out), or right and wrong ones look the same to it"
        )
    return stage


def disbelieved(
    study: Study, teacher: System, pairs: Sequence[Pair]
) -> tuple[set[Pair], dict[str, Any]]:
    """Which of some training pairs the teacher disbelieves, and by direction the estimated share of
    wrong ones and the threshold that tells them apart; None each where nothing does.

    Args:
        pairs: such as it wasn't trained on. Of the others it believes what it has been told.
    """
    settings = study.recipe.corpus.cleaning.by_teacher
    wrong, _ = add_noise(some_of_each(pairs), [NoiseSettings(kind="misaligned", share=1)])
    # Text that was set aside from the training text is no better than that.
    right = some_of_each(study.corpus.valid) if study.recipe.corpus.valid else []
    parts = {"train": pairs, "wrong": wrong, "right": right}
    every = _surprisal(study, teacher, [pair for part in parts.values() for pair in part])
    scores = iter(_by_pair(every, settings.by))
    scored = {name: [(pair, next(scores)) for pair in part] for name, part in parts.items()}
    scored["expected"] = _expected(every[: len(pairs)], settings.by)
    return _judged(scored, settings)


def _as_many_of_others(
    study: Study, teacher: System, seen: Sequence[Pair], facts: dict[str, Any]
) -> set[Pair]:
    """Of pairs that the teacher was trained on as large a share as it disbelieves of others, those
    with the largest −ln p(y): wrong ones surprise it less than they did, but still the most."""
    settings, bad = study.recipe.corpus.cleaning.by_teacher, set()
    scored = _surprisal(study, teacher, seen) if seen else []
    if settings.threshold is not None:
        values = zip(scored, _by_pair(scored, settings.by), strict=True)
        return {pair for (pair, _), value in values if value > settings.threshold}
    for direction, one in facts["wrong"].items():  # of a random part of the same text
        own = [(nll, pair) for pair, (nll, *_) in scored if pair.direction == direction]
        own.sort(key=itemgetter(0), reverse=True)
        bad |= {pair for _, pair in own[: round((one["share"] or 0.0) * len(own))]}
    return bad


def _surprisal(study: Study, teacher: System, pairs: Sequence[Pair]) -> list[Scored]:
    """Of each pair −ln p(y) and H(p), means over its response tokens, and the standard deviation
    that the teacher expects of the former."""
    folder = study.paths.surprisal / fingerprint(teacher.fingerprint, vars(study.prompt))
    shards = sorted(folder.glob("[0-9]*.json"))
    known: dict[str, Any] = {}
    for path in shards:
        with contextlib.suppress(ValueError):  # damaged: what it held is computed again
            known |= read_sealed(path)["pairs"]
    keys = [fingerprint(pair.direction, pair.source, pair.target) for pair in pairs]
    missing = [(key, pair) for key, pair in zip(keys, pairs, strict=True) if key not in known]
    missing = list(dict(missing).items())
    show = progress_bar("what the teacher makes of it")
    first = 1 + max((int(path.stem) for path in shards), default=-1)
    for number, start in enumerate(range(0, len(missing), SHARD), start=first):
        shard = dict(missing[start : start + SHARD])
        rows = dict(zip(shard, _scores(study, list(shard.values())), strict=True))
        write_sealed(folder / f"{number:05d}.json", {"pairs": rows})
        known |= rows
        show(start + len(shard), len(missing))
    return [(pair, tuple(known[key])) for key, pair in zip(keys, pairs, strict=True)]


def _scores(study: Study, pairs: Sequence[Pair]) -> Iterator[list[float]]:
    """The three numbers of each pair."""
    from evokd.distil.surprisal import reference_surprisal
    from evokd.distil.teacher.signal import LiveTeacher
    from evokd.models.encoded import encode_corpus

    data, _ = encode_corpus(pairs, study.teacher.tokenizer, study.prompt)
    signal = LiveTeacher(study.teacher.model)
    for each in reference_surprisal(signal, data, signal.width, study.device):
        nll, entropy, variance = (each.double().sum(0) / len(each)).tolist()
        yield [nll, entropy, math.sqrt(variance / len(each))]


def _by_pair(scored: Sequence[Scored], by: str) -> list[float]:
    """What a pair is judged by, in nats a token, larger where it is likelier wrong."""
    if by == "excess":
        return [nll - entropy for _, (nll, entropy, _) in scored]
    if by == "nll":
        return [nll for _, (nll, _, _) in scored]
    # Dual conditional cross-entropy (Junczys-Dowmunt 2018): both directions, and how they differ.
    of = {(pair.source, pair.target): nll for pair, (nll, _, _) in scored}
    both = [(nll, of.get((pair.target, pair.source), nll)) for pair, (nll, _, _) in scored]
    return [abs(one - other) + (one + other) / 2 for one, other in both]


def _expected(scored: Sequence[Scored], by: str) -> list[tuple[Pair, float]]:
    """What a calibrated teacher would say of them, if all were right; by: excess or nll."""
    if by == "dual":
        return []
    chance = random.Random(1)
    return [
        (pair, (entropy if by == "nll" else 0.0) + spread * chance.gauss(0, 1))
        for pair, (_, entropy, spread) in scored
    ]


def _judged(
    scored: Mapping[str, Sequence[tuple[Pair, float]]], settings: TeacherFilter
) -> tuple[set[Pair], dict[str, Any]]:
    """What the teacher disbelieves; by direction the share of wrong pairs and the threshold.

    Args:
        scored: pairs of `train`, such as are wrong and right for certain, and those of train with
            the scores that are expected of right ones.
    """
    import torch

    from evokd.distil.surprisal import WrongShare, wrong_share

    bad: set[Pair] = set()
    facts: dict[str, Any] = {"by": settings.by, "wrong": {}}
    for direction in dict.fromkeys(pair.direction for pair, _ in scored["train"]):
        own = {
            part: [(pair, score) for pair, score in of_part if pair.direction == direction]
            for part, of_part in scored.items()
        }
        values = {
            part: torch.tensor([score for _, score in some], dtype=torch.float64)
            for part, some in own.items()
        }
        # Without text that is known to be right, what the teacher expects of such text.
        right = values["right" if len(own["right"]) >= FEW else "expected"]
        estimate = WrongShare(None, math.inf)
        if len(own["train"]) >= FEW:
            estimate = wrong_share(values["train"], values["wrong"], right)
        limit = estimate.threshold if settings.threshold is None else settings.threshold
        known = {"share": estimate.share, "threshold": limit if math.isfinite(limit) else None}
        facts["wrong"][direction] = known
        bad |= {pair for pair, score in own["train"] if score > limit}
    return bad, facts


def some_of_each(pairs: Sequence[Pair]) -> list[Pair]:
    """SHUFFLED pairs of each direction, spread over all."""
    numbers: dict[str, int] = {}
    of_pairs = np.array([numbers.setdefault(p.direction, len(numbers)) for p in pairs], np.int16)
    chosen: list[Pair] = []
    for number in numbers.values():
        own = np.flatnonzero(of_pairs == number)
        chosen += take(pairs, own[:: -(-len(own) // SHUFFLED)])
    return chosen
