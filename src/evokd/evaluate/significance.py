"""Is a difference of scores more than chance? Paired tests on the statistics of segments.

A metric counts something in each segment (BLEU: the n-grams that match), and its score is made of
the sums. So a text is resampled, and outputs of two systems are exchanged, by adding up rows of
numbers: no segment is scored twice, and every metric is tested alike. The runs of a system that was
trained with several seeds are one text here, in which each segment stands once a run.

Samples, trials and p-values are sacreBLEU's where it has them, which is one run a system.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import lcm
from statistics import NormalDist
from typing import Any

import numpy as np
from sacrebleu.metrics.base import Metric
from sacrebleu.significance import estimate_ci

from evokd.errors import InputError
from evokd.evaluate.scores import metric_scorers
from evokd.recipe.metrics import DEFAULT_METRICS

TESTS = {"bootstrap": "bs", "randomization": "ar"}
"""Accepted tests, and sacreBLEU's short names for them."""
DEFAULT_SAMPLES = {"bootstrap": 1000, "randomization": 10_000}
DEFAULT_SEED = 12345
"""sacreBLEU's own default."""
SIGNIFICANT_BELOW = 0.05
POWER = 0.8
DEVIATIONS = NormalDist().inv_cdf(1 - SIGNIFICANT_BELOW / 2) + NormalDist().inv_cdf(POWER)
"""Standard errors that a difference must measure, for a two-sided test to see it so often."""
_TOGETHER = 2**22
"""Labels, 8 bytes each, that are drawn at once."""
_SAME = 1e-9
"""Points within which two scores that were added up in another order are equal."""


def paired_bootstrap(
    systems: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    target_language: str,
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    sources: Sequence[str] | None = None,
    tokenizer: str | None = None,
    test: str = "bootstrap",
    n_samples: int | None = None,
    seed: int = DEFAULT_SEED,
) -> list[list[dict[str, Any]]]:
    """Compare the lines of systems with those of the first one, the baseline.

    For each other system a row of `compare_runs` per metric. The numbers are those of `sacrebleu
    REF -i BASELINE SYSTEM… --paired-bs`, or `--paired-ar` with the test "randomization".

    Raises:
        InputError: unknown metric or test, a seed below 1.
    """
    scorers = metric_scorers(metrics, target_language, references, tokenizer, sources)
    how: dict[str, Any] = {"test": test, "n_samples": n_samples, "seed": seed}
    columns = []
    for metric, scorer in scorers.items():
        runs = [[statistics_of(scorer, lines)] for lines in systems]
        columns.append(compare_runs(metric, scorer, runs, **how))
    return [list(rows) for rows in zip(*columns, strict=True)]


def statistics_of(scorer: Metric, lines: Sequence[str]) -> np.ndarray:
    """(segments, columns): what a metric, which holds the references, counts in each segment."""
    with _quiet():
        return np.array(scorer._extract_corpus_statistics(lines, None), float)


def compare_runs(
    metric: str,
    scorer: Metric,
    runs: Sequence[Sequence[np.ndarray]],
    *,
    test: str = "bootstrap",
    n_samples: int | None = None,
    seed: int = DEFAULT_SEED,
) -> list[dict[str, Any]]:
    """Compare systems with the first one, the baseline, by the statistics of all their runs.

    A row for each other system: {metric, score, baseline_score, delta, p_value, significant,
    interval, delta_interval, detectable, segments, signature}. Scores are in points, unrounded, of
    all runs as one text; delta = score − baseline_score; p_value is two-sided, significant is
    p < 0.05; interval is half the width of the bootstrap's 95 % interval of the score (None under
    randomisation), delta_interval the ends of the difference's; detectable is the smallest
    difference that a test with p < 0.05 sees in 80 % of such test sets. The signature is
    sacreBLEU's, with number of samples and seed.

    bootstrap: the paired one (Koehn 2004): segments are drawn with replacement, for all systems and
    runs alike. randomization: stratified approximate randomisation over pooled runs (Clark et al.
    2011): in each segment the two systems change places or don't, with all their runs together,
    since runs from one start, or of one method, are alike. p is the share of trials with a
    difference as large; sacreBLEU counts larger ones only, as if nothing else could come to the
    same. Where the two scores are exactly equal p is 1; sacreBLEU's bootstrap prints 1/(n+1).

    Args:
        runs: of each system the statistics of each run, (segments, columns), `statistics_of`.
        n_samples: by default 1000 resamples or 10,000 trials.
        seed: of the resampling.

    Raises:
        InputError: an unknown test, a seed below 1.
    """
    if test not in TESTS:
        raise InputError(f"unknown significance test {test!r}; accepted: {', '.join(TESTS)}")
    if seed < 1:
        # sacreBLEU takes 0 for "no fixed seed"
        raise InputError(f"seed {seed} of the significance test; a number from 1 on is accepted")
    n_samples = n_samples or DEFAULT_SAMPLES[test]
    resamples = n_samples if test == "bootstrap" else DEFAULT_SAMPLES["bootstrap"]
    # of each run equally many, so that what changes places has the same size
    most = lcm(*map(len, runs))
    texts = [np.sum(own, axis=0) * (most // len(own)) for own in runs]
    scores = _scores(scorer, np.array([text.sum(0) for text in texts]))
    resampled = _resampled(scorer, texts, resamples, seed)
    deltas, sampled = scores[1:] - scores[0], resampled[1:] - resampled[0]
    if test == "bootstrap":
        p_values = [_p_of_resamples(*pair) for pair in zip(deltas, sampled, strict=True)]
    else:
        p_values = _p_of_exchanges(scorer, texts, deltas, n_samples, seed)
    signature = scorer.get_signature()
    signature.update("seed", str(seed))
    signature.update(TESTS[test], n_samples)
    rows = []
    for place, (delta, p_value) in enumerate(zip(deltas, p_values, strict=True)):
        spread = estimate_ci(resampled[place + 1])[1] if test == "bootstrap" else None
        rows.append(
            {
                "metric": metric,
                "score": float(scores[place + 1]),
                "baseline_score": float(scores[0]),
                "delta": float(delta),
                "p_value": p_value,
                "significant": p_value < SIGNIFICANT_BELOW,
                "interval": None if spread is None else float(spread),
                "delta_interval": np.quantile(sampled[place], [0.025, 0.975]).tolist(),
                "detectable": float(DEVIATIONS * sampled[place].std()),
                "segments": len(texts[0]),
                "signature": str(signature),
            }
        )
    return rows


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of tests of one family as Holm (1979) corrects them: the probability of one false
    alarm or more among all of them stays below what they are compared with."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def _scores(scorer: Metric, sums: np.ndarray) -> np.ndarray:
    """The score of each row of sums, (…, columns)."""
    rows = sums.reshape(-1, sums.shape[-1]).tolist()
    scores = [scorer._compute_score_from_stats(row).score for row in rows]
    return np.array(scores, float).reshape(sums.shape[:-1])


def _resampled(
    scorer: Metric, texts: Sequence[np.ndarray], n_samples: int, seed: int
) -> np.ndarray:
    """(systems, samples): scores on segments drawn with replacement, as sacreBLEU draws them."""
    generator, segments = np.random.default_rng(seed), len(texts[0])
    columns, found = np.concatenate(texts, axis=1), []
    for count in _blocks(n_samples, segments):
        drawn = generator.choice(segments, size=(count, segments), replace=True)
        drawn += np.arange(count)[:, None] * segments
        times = np.bincount(drawn.ravel(), minlength=count * segments).reshape(count, segments)
        found.append(times.astype(float) @ columns)
    sums = np.concatenate(found).reshape(n_samples, len(texts), -1)
    return _scores(scorer, sums).T


def _p_of_resamples(delta: float, sampled: np.ndarray) -> float:
    if delta == 0:
        return 1.0  # no resample can differ by less than nothing
    differences = np.abs(sampled)
    larger = int((differences - differences.mean() > abs(delta)).sum())
    return (larger + 1) / (len(sampled) + 1)


def _p_of_exchanges(
    scorer: Metric, texts: Sequence[np.ndarray], deltas: np.ndarray, n_samples: int, seed: int
) -> list[float]:
    """p of each text but the first."""
    generator, segments = np.random.default_rng(seed), len(texts[0])
    columns, total = np.concatenate(texts, axis=1), np.sum(texts, axis=1)
    larger = np.zeros(len(deltas), int)
    for count in _blocks(n_samples, segments):
        stays = generator.integers(2, size=(count, segments), dtype=bool).astype(float)
        kept = (stays @ columns).reshape(count, *total.shape)
        # what doesn't stay with one goes to the other
        baseline = kept[:, :1] + (total - kept)[:, 1:]
        systems = kept[:, 1:] + (total - kept)[:, :1]
        differences = np.abs(_scores(scorer, systems) - _scores(scorer, baseline))
        larger += (differences >= np.abs(deltas) - _SAME).sum(0)
    return [(int(count) + 1) / (n_samples + 1) for count in larger]


def _blocks(n_samples: int, size: int) -> Iterator[int]:
    """How many samples of a size are drawn together; multiples of 32, behind which numpy's stream
    of bits goes on as if all had been drawn at once."""
    most = max(32, _TOGETHER // size // 32 * 32)
    for start in range(0, n_samples, most):
        yield min(most, n_samples - start)


@contextmanager
def _quiet() -> Iterator[None]:
    """sacreBLEU warns of tokenised text that scoring has warned of before."""
    logger = logging.getLogger("sacrebleu")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
