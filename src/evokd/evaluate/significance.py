"""Is a difference of scores more than chance? Paired tests by sacreBLEU's own machinery.

sacreBLEU resamples the stored statistics of the segments and never scores text again, so all
systems that share a baseline are tested in one call.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sacrebleu.significance import PairedTest, Result

from evokd.errors import InputError
from evokd.evaluate.scores import metric_scorers
from evokd.evaluate.segments import References, check_counts, reference_documents
from evokd.recipe.metrics import DEFAULT_METRICS

TESTS = {"bootstrap": "bs", "randomization": "ar"}
"""Accepted tests, and sacreBLEU's short names for them."""
DEFAULT_SAMPLES = {"bootstrap": 1000, "randomization": 10_000}
DEFAULT_SEED = 12345
"""sacreBLEU's own default."""
SIGNIFICANT_BELOW = 0.05


@dataclass(frozen=True)
class PairedResult:
    """One system under one metric, against the baseline.

    score: in points, unrounded. mean, interval: mean of the bootstrap resamples and half the width
    of their 95 % interval (None under randomisation). delta: score − baseline's score. p_value:
    two-sided. delta and p_value are None for the baseline itself. signature: sacreBLEU's, with
    number of samples and seed.
    """

    system: str
    metric: str
    score: float
    mean: float | None
    interval: float | None
    delta: float | None
    p_value: float | None
    signature: str


def paired_bootstrap(
    named_hypotheses: Sequence[tuple[str, Sequence[str]]],
    references: References,
    target_language: str,
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    tokenizer: str | None = None,
    test: str = "bootstrap",
    n_samples: int | None = None,
    seed: int = DEFAULT_SEED,
) -> list[PairedResult]:
    """Compare systems with the first one, the baseline (Koehn 2004, as in sacreBLEU).

    Results come system by system, in the order given, and metric by metric within a system. The
    numbers are those of `sacrebleu REF -i BASELINE SYSTEM… --paired-bs`, with one exception: where
    the two scores are exactly equal the p-value is 1 (no resample can differ by less than
    nothing), while sacreBLEU counts only resamples strictly above zero and prints 1/(n+1) for two
    identical files.

    `test="randomization"` is approximate randomisation (`--paired-ar`). `n_samples` defaults to
    1000 resamples or 10,000 trials.

    Raises:
        InputError: fewer than two systems, unequal lengths, unknown metric or test.
    """
    if test not in TESTS:
        raise InputError(f"unknown significance test {test!r}; accepted: {', '.join(TESTS)}")
    if seed < 1:
        # sacreBLEU takes 0 for "no fixed seed" in one of its two places, and -1 fails in numpy.
        raise InputError(f"seed {seed} of the significance test; a number from 1 on is accepted")
    if len(named_hypotheses) < 2:
        raise InputError(
            f"a comparison needs a baseline and one more system; found {len(named_hypotheses)}"
        )
    documents = reference_documents(references)
    for name, hypotheses in named_hypotheses:
        check_counts(hypotheses, documents, name)
    scorers = metric_scorers(metrics, target_language, documents, tokenizer)
    with _seeded_and_quiet(seed):
        signatures, table = PairedTest(
            [(name, list(hypotheses)) for name, hypotheses in named_hypotheses],
            scorers,
            references=None,  # the scorers hold them already, for all systems at once
            test_type=TESTS[test],
            n_samples=n_samples or DEFAULT_SAMPLES[test],
        )()
    # sacreBLEU keys its answer by names of its own (chrF2), in the order of the metrics
    columns = dict(zip(metrics, signatures, strict=True))
    results = []
    for row, (system, _) in enumerate(named_hypotheses):
        for metric, column in columns.items():
            result, baseline = table[column][row], table[column][0]
            assert isinstance(result, Result)
            assert isinstance(baseline, Result)
            delta = None if row == 0 else float(result.score - baseline.score)
            p_value = 1.0 if delta == 0 else _plain(result.p_value)
            numbers = (float(result.score), _plain(result.mean), _plain(result.ci), delta, p_value)
            results.append(PairedResult(system, metric, *numbers, str(signatures[column])))
    return results


def _plain(value: float | None) -> float | None:
    """numpy's scalars as floats that JSON can hold."""
    return None if value is None else float(value)


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
