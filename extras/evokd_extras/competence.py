"""Weights of pairs from how well the student translates them: our analogue of PACED.

PACED (Xu et al. 2026) weighs a problem by p̂^a (1 − p̂)^b, with p̂ the share of the student's attempts
that a verifier passes: what is out of reach and what is mastered count little. A translation can't
be verified; here it passes where its sentence chrF against the reference reaches a threshold. That
is not their method, and whether they scale the weights isn't known: here their mean is 1.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evokd.distil.train.on_policy import (
    Example,
    PairsToWeigh,
    prompt_length,
    response_cap,
    seed_of,
)
from evokd.errors import InputError
from evokd.models.lm_head import evaluating
from evokd_extras import CompetenceSettings

FILE = "competence.jsonl"
"""In the folder of a training: what was sampled for, then a line of pass counts per chunk."""
CHUNK = 1024
"""Pairs that are translated before a line is written."""
TEMPERATURE = 1.0
"""Of the draws."""


def pair_weights(work: PairsToWeigh, settings: CompetenceSettings) -> list[float]:
    """A weight for each pair of a data set, their mean is 1.

    The student, as it is when this is first called, translates every pair `settings.samples` times.
    What it passed is kept in the folder, so this is done once, and goes on where it was
    interrupted.

    Raises:
        InputError: no pair is passed sometimes, so every weight is 0.
    """
    path, total = work.folder / FILE, len(work.data)
    passed = _kept_counts(path, total, settings, work.seed)
    while len(passed) < total:
        chunk = [work.data[i] for i in range(len(passed), min(len(passed) + CHUNK, total))]
        with torch.no_grad(), evaluating(work.student):
            counts = _passes(work, chunk, settings)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(counts) + "\n")
        passed += counts
        if work.progress is not None:
            work.progress(len(passed), total)
    work.log(f"competence: {_distribution(passed, settings)}")
    return weights_of(passed, settings)


def weights_of(passed: Sequence[int], settings: CompetenceSettings) -> list[float]:
    """r^a (1 − r)^b of each pair, scaled to a mean of 1; 0^0 is 1.

    Args:
        passed: samples of each pair that passed.

    Raises:
        InputError: all of them are 0.
    """
    rates = np.asarray(passed, dtype=np.float64) / settings.samples
    weights = rates**settings.a * (1 - rates) ** settings.b
    if not weights.any():
        most_fail = rates.mean() < 0.5
        raise InputError(
            f"competence: every pair has the weight 0: {_distribution(passed, settings)}. "
            f"{'Lower' if most_fail else 'Raise'} competence.threshold (chrF, now "
            f"{settings.threshold:g}), or draw more often (competence.samples, now "
            f"{settings.samples})"
        )
    return list((weights / weights.mean()).tolist())


def _passes(
    work: PairsToWeigh, examples: Sequence[Example], settings: CompetenceSettings
) -> list[int]:
    """How many samples of each pair reach the threshold."""
    from sacrebleu.metrics import CHRF

    chrf = CHRF()
    before = [prompt_length(example) for example in examples]
    prompts = [e["input_ids"][:n] for e, n in zip(examples, before, strict=True)]
    responses = [e["input_ids"][n:] for e, n in zip(examples, before, strict=True)]
    references = [work.decode(response) for response in responses]
    caps = [response_cap(len(response)) for response in responses]
    counts = [0] * len(examples)
    for sample in range(settings.samples):
        seeds = [seed_of(work.seed, sample, example) for example in examples]
        drawn = work.sampler(work.student, prompts, caps, TEMPERATURE, seeds)
        for i, (response, reference) in enumerate(zip(drawn, references, strict=True)):
            score = chrf.sentence_score(work.decode(response), [reference]).score
            counts[i] += score >= settings.threshold
    return counts


def _kept_counts(path: Path, pairs: int, settings: CompetenceSettings, seed: int) -> list[int]:
    """What was counted before with the same settings; else a fresh file and nothing."""
    head = {
        "pairs": pairs,
        "threshold": settings.threshold,
        "samples": settings.samples,
        "seed": seed,
        "temperature": TEMPERATURE,
    }
    lines = _lines(path)
    if not lines or lines[0] != head:
        lines = [head]
    path.parent.mkdir(parents=True, exist_ok=True)
    # Anew, without a last line that was cut off.
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return [count for line in lines[1:] for count in line]


def _lines(path: Path) -> list[Any]:
    """Whole lines from the first on."""
    whole: list[Any] = []
    for text in path.read_text(encoding="utf-8").split("\n") if path.exists() else []:
        try:
            whole.append(json.loads(text))
        except ValueError:
            break
    return whole


def _distribution(passed: Sequence[int], settings: CompetenceSettings) -> str:
    """`62 % of pairs pass 0 of 4 samples, 30 % 1, 8 % 2 (chrF of at least 50)`"""
    counts = Counter(passed)
    shares = [f"{100 * counts[n] / len(passed):.0f} % {n}" for n in sorted(counts)]
    first, *others = shares
    first = first.replace(" % ", " % of pairs pass ") + f" of {settings.samples} samples"
    return ", ".join([first, *others]) + f" (chrF of at least {settings.threshold:g})"
