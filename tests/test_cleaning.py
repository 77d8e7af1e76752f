import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evokd.data.cleaning import clean, letter_share, repair, word_count
from evokd.data.identification import _identifier
from evokd.data.pairs import Pair
from evokd.errors import InputError
from evokd.recipe.corpus import CleaningSettings

DEFAULTS = CleaningSettings()


def pair(source, target, direction="en-de", origin="file:1"):
    return Pair(source, target, *direction.split("-"), origin)


def reason_of(source, target, direction="en-de", **settings):
    kept, report = clean([pair(source, target, direction)], CleaningSettings(**settings))
    assert len(kept) + sum(d.count for d in report.reasons.values()) == 1
    return next(iter(report.reasons), None)


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("A dog.", "Ein Hund.", None),
        ("", "Ein Hund.", "empty"),
        ("A dog.", " \u200b\t ", "empty"),
        ("word " * 251, "Wort " * 250, "too_long"),
        ("word " * 250, "Wort " * 250, None),
        ("a " + "x" * 101, "ein " + "y" * 90, "long_word"),
        ("a " + "x" * 100, "ein " + "y" * 90, None),
        ("four", "x" * 4 + " " + "y" * 12, None),  # 17 characters: too short to judge
        ("four", "a b c d e f g h i j k", "length_ratio"),  # 21 characters > 4 · 4
        ("fives", "abcde " * 4, "length_ratio"),  # 23 > 4 · 5
        ("fivers", "abcde " * 4, None),  # 23 < 4 · 6
        ("sixsix", "abcdef abcde abcde abcde", None),  # exactly four times as long
        ("Berlin", "Berlin", "copy"),
        ("Berlin", "Berlin!", None),
        ("12 34 56 abc", "12 34 56 abd", "few_letters"),  # 3 letters of 9
        ("12 34 abcd", "12 34 abce", None),  # 4 of 8
        ("1 2 3 4 - = +", "eins zwei", "few_letters"),
    ],
)
def test_reasons_by_hand(source, target, reason):
    assert reason_of(source, target) == reason


def test_min_words():
    assert reason_of("One", "Eins zwei", min_words=2) == "too_short"
    assert reason_of("One two", "Eins zwei", min_words=2) is None


def test_filters_are_the_same_in_both_directions():
    for source, target in [("four", "a b c d e f g h i j k"), ("", "x"), ("x", "x")]:
        assert reason_of(source, target) == reason_of(target, source, "de-en")


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("The train leaves at nine.", "Der Zug fährt um neun Uhr ab.", None),
        ("The train leaves at nine.", "Where is the nearest pharmacy, please?", "wrong_language"),
        ("Kde je prosím lékárna?", "Der Zug fährt um neun Uhr ab.", "wrong_language"),
        ("Berlin, Potsdam", "Berlin & Potsdam", None),  # names are nobody's
    ],
)
def test_a_side_in_another_language_is_dropped_where_that_is_asked_for(source, target, reason):
    assert reason_of(source, target) is None
    assert reason_of(source, target, drop_wrong_language=True) == reason


def test_languages_that_nobody_can_tell_are_said_so(monkeypatch):
    with pytest.raises(InputError, match="doesn't know Yakut"):
        reason_of("A dog.", "Ein Hund.", "en-sah", drop_wrong_language=True)
    _identifier.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(InputError, match=r"pip install 'evokd\[langid\]'"):
        reason_of("A dog.", "Ein Hund.", drop_wrong_language=True)


def test_languages_without_spaces():
    assert word_count("我喜欢吃苹果", "zh") == 3  # six characters, two a word
    assert word_count("I like apples", "en") == 3
    sentence = "世界" * 60  # no "word" of 120 characters, and 360 Latin ones wide
    assert reason_of("world " * 60, sentence, "en-zh") is None
    assert reason_of("world " * 10, sentence, "en-zh") == "length_ratio"


def test_vowel_signs_are_letters():
    assert letter_share("नमस्ते दुनिया") == 1.0
    assert letter_share("don't") == pytest.approx(4 / 5)
    assert letter_share("") == 0.0


def test_duplicates_are_dropped_per_direction():
    both = [pair("A", "B"), pair("B", "A", "de-en")]
    kept, report = clean([*both, *both], DEFAULTS)
    assert kept == both
    assert report.reasons["duplicate"].count == 2
    kept, _ = clean([*both, *both], CleaningSettings(drop_duplicates=False))
    assert kept == [*both, *both]


def test_repairs_are_counted_and_nothing_is_dropped():
    kept, report = clean([pair("A\u00a0 dog\u200b\x07.", "Ein Hu\u0308ndchen.")], DEFAULTS)
    assert (kept[0].source, kept[0].target) == ("A dog.", "Ein Hündchen.")
    assert (report.read, report.kept, report.repaired, report.reasons) == (1, 1, 1, {})


def test_joiners_that_spelling_needs_stay():
    assert repair("می\u200cخواهم") == "می\u200cخواهم"
    assert repair("👩\u200d🔬") == "👩\u200d🔬"


@given(st.text())
def test_repair_is_idempotent_and_normal(text):
    repaired = repair(text)
    assert repair(repaired) == repaired
    assert unicodedata.is_normalized("NFC", repaired)
    assert len(repaired.splitlines()) <= 1
    assert "  " not in repaired


def test_number_mismatch_is_only_a_warning():
    pairs = [
        pair("It cost 1,000.50 euros", "Es kostete 1.000,50 Euro"),
        pair("It cost 15 euros", "Es kostete 51 Cent"),  # same digits
        pair("It cost 15 euros", "Es kostete 16 Euro"),
    ]
    kept, report = clean(pairs, DEFAULTS)
    assert kept == pairs
    assert report.warnings["number_mismatch"].count == 1
    assert report.warnings["number_mismatch"].examples[0]["target"] == "Es kostete 16 Euro"


def test_five_examples_from_five_sentences():
    pairs = []
    for i in range(7):
        pairs += [pair("", "x", origin=f"f:{i}"), pair("x", "", "de-en", origin=f"f:{i}")]
    _, report = clean(pairs, DEFAULTS)
    assert report.reasons["empty"].count == 14
    assert [e["origin"] for e in report.reasons["empty"].examples] == [f"f:{i}" for i in range(5)]
