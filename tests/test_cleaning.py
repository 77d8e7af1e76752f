import pytest

from evokd.data.cleaning import clean, letter_share, summary, word_count
from evokd.data.pairs import Pair
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
    assert reason_of(source, target, drop_wrong_language=False) == reason


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
def test_a_side_in_another_language_is_dropped(source, target, reason):
    assert reason_of(source, target) == reason
    assert reason_of(source, target, drop_wrong_language=False) is None


def test_a_language_that_nobody_can_tell_is_taken_as_it_is():
    assert reason_of("The train leaves at nine.", "Der Zug fährt ab.", "en-sah") is None


ENGLISH, GERMAN = "The train leaves at nine.", "Der Zug fährt um neun Uhr ab."


@pytest.mark.parametrize("direction", ["en-de", "de-en"])
def test_swapped_sides_are_swapped_back(direction):
    right = pair(*((ENGLISH, GERMAN) if direction == "en-de" else (GERMAN, ENGLISH)), direction)
    wrong = pair(right.target, right.source, direction)
    kept, report = clean([wrong, right], DEFAULTS)
    assert kept == [right]  # and then they are the same
    assert (report.repairs["swapped_sides"].count, report.reasons["duplicate"].count) == (1, 1)
    assert report.repairs["swapped_sides"].examples[0]["source"] == wrong.source


def test_swapped_sides_may_be_dropped_or_left_to_others():
    assert reason_of(GERMAN, ENGLISH, swapped_sides="drop") == "swapped_sides"
    assert reason_of(GERMAN, ENGLISH, swapped_sides="keep") == "wrong_language"
    free = {"swapped_sides": "keep", "drop_wrong_language": False}
    assert reason_of(GERMAN, ENGLISH, **free) is None
    assert reason_of("Kde je prosím lékárna?", ENGLISH) == "wrong_language"  # of neither language


@pytest.mark.parametrize(
    ("key", "reason", "source", "repaired"),
    [
        ("markup", "markup", "A <b>big</b> dog &amp; a cat.", "A big dog & a cat."),
        ("mojibake", "mojibake", "A big cafÃ© and a dog.", "A big café and a dog."),
    ],
)
def test_what_is_put_right_may_be_dropped_or_kept(key, reason, source, repaired):
    target = "Ein großer Hund und eine Katze."
    kept, report = clean([pair(source, target)], DEFAULTS)
    assert kept == [pair(repaired, target)]
    example = report.repairs[reason].examples[0]
    assert (example["source"], example["source_became"]) == (source, repaired)
    assert reason_of(source, target, **{key: "drop"}) == reason
    assert reason_of(repaired, target, **{key: "drop"}) is None
    kept, report = clean([pair(source, target)], CleaningSettings(**{key: "keep"}))
    assert (kept, report.repairs) == ([pair(source, target)], {})


def test_what_is_lost_for_good_is_dropped():
    assert reason_of("A big caf\ufffd.", "Ein großes Café.") == "mojibake"
    assert reason_of("A big caf\ufffd.", "Ein großes Café.", mojibake="keep") is None
    assert reason_of("A long shoelace.", "Ein langes Schn?rband.") == "mojibake"
    assert reason_of("Really?", "Wirklich?") is None
    assert reason_of("Go to index.php?id=3 now.", "Gehen Sie zu index.php?id=3.") is None


def test_a_report_in_a_line():
    pairs = [pair("A dog.", "Ein Hund."), pair("A dog.", "Ein Hund."), pair("", "x")]
    pairs += [pair("A\u00a0cat &amp; a dog.", "Eine Katze und ein Hund."), pair("B", "")]
    assert summary(clean(pairs, DEFAULTS)[1].as_dict()) == (
        "5 read, 3 dropped (empty 2, duplicate 1), 1 repaired (markup 1, characters 1)"
    )
    assert summary(clean(pairs[:1], DEFAULTS)[1].as_dict()) == "1 read, 0 dropped, 0 repaired"


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
