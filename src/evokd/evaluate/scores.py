"""What computes each metric of `recipe.metrics`: sacreBLEU's classes, set up for a test set.

A metric's function takes the target language, the references (documents of one line per segment,
whose n-grams are counted once, here; None only to see that the metric can be computed) and a
tokenizer for BLEU, and returns a `sacrebleu.metrics.base.Metric`. A metric of one's own is a
subclass of it: what it counts in each segment serves the corpus score and the significance test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.metrics.base import Metric

from evokd.data.languages import language
from evokd.errors import InputError
from evokd.recipe.code import is_address
from evokd.recipe.metrics import METRICS, add_metric
from evokd.recipe.validation import check_known

Documents = Sequence[Sequence[str]]
Similarity = Callable[[str, str], float]
"""Of a translation and a reference; larger is nearer."""


def metric_scorers(
    metrics: Sequence[str],
    target_language: str,
    references: Documents | None = None,
    tokenizer: str | None = None,
    sources: Sequence[str] | None = None,
) -> dict[str, Metric]:
    """Scorers by metric name, with the references; without, to see that they can be made.

    Args:
        tokenizer: BLEU's.
        sources: for metrics that judge by them.

    Raises:
        InputError: no, unknown or repeated metric, unknown tokenizer, or one that isn't installed.
    """
    accepted = ", ".join(METRICS)
    if not metrics:
        raise InputError(f"no metric given; accepted: {accepted}")
    for name in metrics:
        if is_address(name) and name not in METRICS:
            try:
                add_metric(name)
            except ValueError as error:
                raise InputError(f"metric {error}") from None
        try:
            check_known("metric", name, METRICS)
        except ValueError as error:
            raise InputError(str(error)) from None
        if metrics.count(name) > 1:
            raise InputError(f"metric {name!r} is given twice; name each metric once")
    scorers = {}
    for name in metrics:
        make, neural = METRICS[name].load_scorer(), METRICS[name].model is not None
        given = (name, sources, references) if neural else (target_language, references, tokenizer)
        scorers[name] = make(*given)
    return scorers


def segment_scores(scorer: Metric, hypotheses: Sequence[str]) -> list[float]:
    """The score of each line by itself, with the references that the scorer holds; BLEU's as
    sacreBLEU's sentence BLEU is, without orders that a line is too short for."""
    alone = copy(scorer)
    if isinstance(alone, BLEU):
        alone.effective_order = True
    statistics = scorer._extract_corpus_statistics(hypotheses, None)
    return [float(alone._compute_score_from_stats(row).score) for row in statistics]


def bleu(
    target_language: str,
    references: Documents | None = None,
    tokenizer: str | None = None,
    **settings: Any,
) -> BLEU:
    """BLEU; the tokenizer follows the language as sacreBLEU's does: zh, ja-mecab, ko-mecab, 13a.

    Raises:
        InputError: unknown language or tokenizer, or a tokenizer that isn't installed.
    """
    tokenizer = tokenizer or language(target_language).sacrebleu_tokenizer
    if tokenizer not in BLEU.TOKENIZERS:
        raise InputError(
            f"unknown BLEU tokenizer {tokenizer!r}; accepted: {', '.join(BLEU.TOKENIZERS)}"
        )
    try:
        return BLEU(tokenize=tokenizer, references=references, **settings)
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"BLEU for {target_language!r} needs sacreBLEU's tokenizer {tokenizer!r}, which can't "
            f"be loaded: {reason} Or score with chrf alone."
        ) from None


def chrf(
    _language: str, references: Documents | None = None, _tokenizer: str | None = None
) -> CHRF:
    """chrF2: F-score of character n-grams up to 6, recall counted double."""
    return CHRF(references=references)


def chrf_plus_plus(
    _language: str, references: Documents | None = None, _tokenizer: str | None = None
) -> CHRF:
    """chrF2++: chrF2 with word n-grams up to 2."""
    return CHRF(word_order=2, references=references)


def ter(_language: str, references: Documents | None = None, _tokenizer: str | None = None) -> TER:
    """Translation edit rate: edits and shifts over words of the reference, in per cent."""
    return TER(references=references)


def sentence_bleu(target_language: str, tokenizer: str | None = None) -> Similarity:
    """sacreBLEU's sentence BLEU, 0 to 100, of (translation, reference).

    Orders without a match are smoothed as NIST does: the first counts as 1/2 match, the next as
    1/4, and so on ("exp", method 3 of Chen and Cherry 2014), which is what Kim and Rush's decoder
    does. Unlike theirs, orders that a translation is too short for are left out, and a translation
    without any common word has 0.

    Raises:
        InputError: an unknown language or tokenizer, or one that isn't installed.
    """
    scorer = bleu(target_language, None, tokenizer, smooth_method="exp", effective_order=True)

    def similarity(hypothesis: str, reference: str) -> float:
        return float(scorer.sentence_score(hypothesis, [reference]).score)

    return similarity


def nearest(hypotheses: Sequence[str], reference: str, similarity: Similarity) -> tuple[int, float]:
    """The place of the translation that is nearest to the reference and how near it is.

    Kim and Rush (2016) train on it under the name of sequence-level interpolation: it is as good as
    the teacher's best to the teacher, nearly, and nearer to what people wrote. Of equals the first
    is taken: give them with the teacher's favourite first.
    """
    assert hypotheses, "nearest of nothing"
    similarities = [similarity(hypothesis, reference) for hypothesis in hypotheses]
    best = max(similarities)
    return similarities.index(best), best
