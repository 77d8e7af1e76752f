"""The nearest of several translations, against sentence BLEU worked out by hand."""

import math

import pytest

from evokd.errors import InputError
from evokd.evaluate.scores import nearest, sentence_bleu

REFERENCE = "the cat sat on the mat"


def by_hand(matches, totals, hypothesis_words, reference_words):
    """BLEU in percent; the k-th order without a match counts 1 / 2ᵏ."""
    zeros, logs = 0, []
    for matched, total in zip(matches, totals, strict=True):
        zeros += matched == 0
        logs.append(math.log((matched or 0.5**zeros) / total))
    brevity = min(1.0, math.exp(1 - reference_words / hypothesis_words))
    return 100 * brevity * math.exp(sum(logs) / len(logs))


@pytest.mark.parametrize(
    ("hypothesis", "matches", "totals"),
    [
        (REFERENCE, [6, 5, 4, 3], [6, 5, 4, 3]),
        ("the cat lay on the mat", [5, 3, 1, 0], [6, 5, 4, 3]),
        ("a cat lay on a mat", [3, 0, 0, 0], [6, 5, 4, 3]),
        ("the cat sat", [3, 2, 1], [3, 2, 1]),  # too short for four words in a row
        # the twice, cat, sat, on, mat; the cat, cat sat, sat on; …
        ("the dog and the cat sat on a mat", [6, 3, 2, 1], [9, 8, 7, 6]),
    ],
)
def test_sentence_bleu_by_hand(hypothesis, matches, totals):
    expected = by_hand(matches, totals, len(hypothesis.split()), 6)
    assert sentence_bleu("en")(hypothesis, REFERENCE) == pytest.approx(expected, rel=1e-9)


def test_nothing_in_common_is_nothing():
    assert sentence_bleu("en")("zwei Hunde", REFERENCE) == 0.0
    assert sentence_bleu("en")("", REFERENCE) == 0.0


def test_the_nearest_is_taken_and_of_equals_the_teachers_favourite():
    similarity = sentence_bleu("en")
    candidates = ["a cat lay on a mat", "the cat lay on the mat", "the cat sat on a mat"]
    scores = [similarity(candidate, REFERENCE) for candidate in candidates]
    assert nearest(candidates, REFERENCE, similarity) == (scores.index(max(scores)), max(scores))
    assert len(set(scores)) == 3
    assert nearest(["b a", "a b", "a b"], "a b", similarity)[0] == 1
    assert nearest(["zwei", "drei"], REFERENCE, similarity) == (0, 0.0)  # all the same to it
    assert nearest(["drei"], REFERENCE, similarity) == (0, 0.0)


def test_chinese_is_compared_by_characters():
    candidates = ["一只猫坐在垫子上", "猫睡在床上"]
    assert nearest(candidates, "那只猫坐在垫子上", sentence_bleu("zh"))[0] == 0
    assert sentence_bleu("zh")(*candidates[:1], "那只猫坐在垫子上") > 50
    assert sentence_bleu("zh", "13a")(*candidates[:1], "那只猫坐在垫子上") == 0  # one word each


def test_unknown_tokenizers_are_refused():
    with pytest.raises(InputError, match="unknown BLEU tokenizer"):
        sentence_bleu("en", "nonsense")
