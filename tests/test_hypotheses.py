"""Which machine translations are left out, on lines as models write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evokd.data.hypotheses import is_looping, reason_to_leave_out
from evokd.data.pairs import Pair

LOOPS = [
    "Ein Mann in einem roten Hemd in einem roten Hemd in einem roten Hemd in einem roten Hemd",
    "The dog the dog the dog the dog",
    "Die Frau, die die, die, die, die, die",
    "Zwei Männer spielen Fußball und Fußball und Fußball und Fußball und Fußball.",
    "他在公园里公园里公园里公园里公园里",
    "これはこれはこれはこれはこれは犬です",
    "สุนัขวิ่งวิ่งวิ่งวิ่งวิ่งวิ่ง",
    "Collection: ......................",
    "Neiiiiiiiiiiiiiiin",
    "lalalalalalalalalalala",
    "1000000000000000",
]
FINE = [
    "",
    "Ein Mann in einem roten Hemd steht in einem roten Haus in einem roten Land.",
    "No, no, no!",
    "Die, die die Diebe sahen, sahen die, die die Diebe suchten.",
    "Er lief und lief und lief und lief, bis er endlich wieder zu Hause bei seiner Mutter ankam.",
    "Das ist sehr, sehr, sehr schön.",
    "一个穿红衬衫的人在公园里慢慢地走来走去。",
    "ここそこここそこ、どこでも見ることができる花です。",
    "Sie wartete ... und wartete ... und ging.",
    "She paid 1,000,000 dollars for 1,000 books.",
    "-- Ja. -- Nein. -- Doch.",
]


@pytest.mark.parametrize("line", LOOPS)
def test_circles_are_seen(line):
    assert is_looping(line)


@pytest.mark.parametrize("line", FINE)
def test_repetition_alone_is_no_circle(line):
    assert not is_looping(line)


@pytest.mark.parametrize(
    ("times", "words_behind", "loops"),
    [(3, 0, False), (4, 0, True), (4, 8, True), (4, 9, False)],
)
def test_a_circle_fills_half_of_the_line(times, words_behind, loops):
    """Two words, so many times, and then words that differ."""
    line = " ".join(["rot blau"] * times + [f"wort{'abcdefghi'[i]}" for i in range(words_behind)])
    assert is_looping(line) is loops
    assert is_looping(line.upper().replace(" ", ", ")) is loops


def naive_share(words: list[str]) -> float:
    """Of the words that stand in the longest run of one phrase, said 4 times or more."""
    longest = 0
    for length in range(1, len(words) + 1):
        for start in range(len(words)):
            phrase, end = words[start : start + length], start + length
            while end < len(words) and words[end] == phrase[(end - start) % length]:
                end += 1
            if end - start >= 4 * length:
                longest = max(longest, end - start)
    return longest / max(1, len(words))


@given(st.lists(st.sampled_from(["ab", "cd", "ef"]), max_size=30))
def test_circles_equal_a_naive_search(words):
    # Letters differ within and between words, so the rule on characters needs 10 repetitions,
    # which the rule on words has seen at 4.
    assert is_looping(" ".join(words)) == (naive_share(words) >= 0.5)


LONG = "".join(f"{chr(97 + i % 26)}{i}" for i in range(60))  # goes nowhere in circles


def reason(source, target, direction="en-de", stopped_by="eos", ratio=4.0):
    return reason_to_leave_out(
        Pair(source, target, *direction.split("-"), "x:1"), stopped_by, ratio
    )


@pytest.mark.parametrize(
    ("source", "target", "stopped_by", "expected"),
    [
        ("A dog.", "Ein Hund.", "eos", None),
        ("A dog.", "Ein Hund.", "newline", None),
        ("A dog.", " ", "eos", "empty"),
        ("A dog.", "", "cap", "empty"),
        ("A dog.", "der der der der der", "cap", "looping"),
        ("No, no, no, no!", "Nein, nein, nein, nein!", "eos", None),
        ("A dog.", "Ein Hund, der", "cap", "cut_off"),
        ("A dog.", LONG[:80], "eos", None),  # a short source counts as one of 20 characters
        ("A dog.", LONG[:81], "eos", "over_long"),
        (LONG[:25], LONG[:100], "eos", None),
        (LONG[:25], LONG[:101], "eos", "over_long"),
        (LONG[:25], LONG[:101], "cap", "cut_off"),
    ],
)
def test_reasons_by_hand(source, target, stopped_by, expected):
    assert reason(source, target, stopped_by=stopped_by) == expected


def test_a_dense_script_says_more_with_less():
    chinese, english = "一个男人和一个女人坐在长凳上", "A man and a woman are sitting on a bench"
    assert len(english) > 2.5 * len(chinese)
    assert reason(chinese, english, "zh-en", ratio=1.0) is None
    assert reason(english, chinese, "en-zh", ratio=1.1) is None
    assert reason(english[: len(english) // 2], chinese, "en-zh", ratio=1.1) == "over_long"
