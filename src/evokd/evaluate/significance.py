"""Is a difference of scores more than chance? Paired tests by sacreBLEU's own machinery.

sacreBLEU resamples the stored statistics of the segments and never scores text again, so all
systems that share a baseline are tested in one call.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sacrebleu.significance import PairedTest

from evokd.errors import InputError
from evokd.evaluate.scores import metric_scorers
from evokd.recipe.metrics import DEFAULT_METRICS

TESTS = {"bootstrap": "bs", "randomization": "ar"}
"""Accepted tests, and sacreBLEU's short names for them."""
DEFAULT_SAMPLES = {"bootstrap": 1000, "randomization": 10_000}
DEFAULT_SEED = 12345
"""sacreBLEU's own default."""
SIGNIFICANT_BELOW = 0.05


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
    """Compare systems with the first one, the baseline (Koehn 2004, as in sacreBLEU).

    For each other system a row per metric: {metric, score, baseline_score, delta, p_value,
    significant, interval, signature}. Scores are in points, unrounded; delta = score −
    baseline_score; p_value is two-sided, significant is p < 0.05; interval is half the width of the
    bootstrap's 95 % interval of the score (None under randomisation); the signature is sacreBLEU's,
    with number of samples and seed.

    The numbers are those of `sacrebleu REF -i BASELINE SYSTEM… --paired-bs`, with one exception:
    where the two scores are exactly equal the p-value is 1 (no resample can differ by less than
    nothing), while sacreBLEU counts only resamples strictly above zero and prints 1/(n+1) for two
    identical files.

    Args:
        systems: the lines of each, as many as each reference has.
        sources: as many, for metrics that judge by them.
        test: or "randomization", which is approximate randomisation (`--paired-ar`).
        n_samples: by default 1000 resamples or 10,000 trials.
        seed: of the resampling.

    Raises:
        InputError: unknown metric or test, a seed below 1.
    """
    if test not in TESTS:
        raise InputError(f"unknown significance test {test!r}; accepted: {', '.join(TESTS)}")
    if seed < 1:
        # sacreBLEU takes 0 for "no fixed seed" in one of its two places, and -1 fails in numpy.
        raise InputError(f"seed {seed} of the significance test; a number from 1 on is accepted")
    scorers = metric_scorers(metrics, target_language, references, tokenizer, sources)
    with _seeded_and_quiet(seed):
        signatures, table = PairedTest(
            [(str(number), list(lines)) for number, lines in enumerate(systems)],
            scorers,
            references=None,  # the scorers hold them already, for all systems at once
            test_type=TESTS[test],
            n_samples=n_samples or DEFAULT_SAMPLES[test],
        )()
    # sacreBLEU keys its answer by names of its own (chrF2), in the order of the metrics
    columns = [
        [_row(metric, result, table[column][0], signature) for result in table[column][1:]]
        for metric, (column, signature) in zip(metrics, signatures.items(), strict=True)
    ]
    return [list(rows) for rows in zip(*columns, strict=True)]


def _row(metric: str, result: Any, baseline: Any, signature: Any) -> dict[str, Any]:
    """Numpy's scalars as numbers that JSON can hold."""
    score, baseline_score = float(result.score), float(baseline.score)
    p_value = 1.0 if score == baseline_score else float(result.p_value)
    return {
        "metric": metric,
        "score": score,
        "baseline_score": baseline_score,
        "delta": score - baseline_score,
        "p_value": p_value,
        "significant": p_value < SIGNIFICANT_BELOW,
        "interval": None if result.ci is None else float(result.ci),
        "signature": str(signature),
    }


@contextmanager
def _seeded_and_quiet(seed: int) -> Iterator[None]:
    """sacreBLEU reads its seed from the environment only, logs each step, and warns of tokenised
    text that scoring has warned of before; environment and logger are put back."""
    logger = logging.getLogger("sacrebleu")
    level, seed_before = logger.level, os.environ.get("SACREBLEU_SEED")
    logger.setLevel(logging.ERROR)
    os.environ["SACREBLEU_SEED"] = str(seed)
    try:
        yield
    finally:
        logger.setLevel(level)
        if seed_before is None:
            del os.environ["SACREBLEU_SEED"]
        else:
            os.environ["SACREBLEU_SEED"] = seed_before
