"""Of several translations of a sentence the one that is nearest to its reference.

Kim and Rush (2016) train on it under the name of sequence-level interpolation: it is as good as
the teacher's best to the teacher, nearly, and nearer to what people wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evokd.evaluate.scores import bleu

Similarity = Callable[[str, str], float]
"""Of a translation and a reference; larger is nearer."""


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
    """The place of the nearest hypothesis and how near it is.

    Of equals the first is taken: give them with the teacher's favourite first.
    """
    assert hypotheses, "nearest of nothing"
    similarities = [similarity(hypothesis, reference) for hypothesis in hypotheses]
    best = max(similarities)
    return similarities.index(best), best
