"""Misbehaving outputs, made by hand."""

import pytest

from evokd.evaluate.degeneration import measure_behaviour, words


def count(kind, hypothesis, reference, source="one two three four"):
    references = [[reference]] if isinstance(reference, str) else [[line] for line in reference]
    return getattr(measure_behaviour([hypothesis], references, [source]), kind)


@pytest.mark.parametrize(("line", "times"), [("", 1), (" \t\u00a0", 1), (".", 0)])
def test_empty(line, times):
    assert count("empty", line, "ein Satz") == times


@pytest.mark.parametrize(
    ("line", "source", "reference", "times"),
    [
        ("The cat sat down.", "The cat sat down.", "Die Katze setzte sich.", 1),
        ("the CAT  sat down. ", "The cat sat down.", "Die Katze setzte sich.", 1),
        ("Cafe\u0301 au lait", "Café au lait", "Milchkaffee", 1),
        ("The cat sat up.", "The cat sat down.", "Die Katze setzte sich.", 0),
        ("New York", "New York", "Neu-York", 0),  # names of two words stay as they are
        ("Rio de Janeiro", "Rio de Janeiro", "Rio de Janeiro", 0),  # the reference does it too
        ("Rio de Janeiro", "Rio de Janeiro", ["Rio", "rio de janeiro"], 0),
        ("我喜欢猫", "我喜欢猫", "I like cats", 1),
    ],
)
def test_copied(line, source, reference, times):
    assert count("copied", line, reference, source) == times


@pytest.mark.parametrize(
    ("output_words", "reference_words", "times"),
    [(25, 10, 0), (26, 10, 1), (7, 1, 0), (8, 1, 1), (5, 0, 0), (6, 0, 1)],
)
def test_over_long_is_more_than_twice_and_five(output_words, reference_words, times):
    line = " ".join(f"w{n}" for n in range(output_words))
    assert count("over_long", line, " ".join(["r"] * reference_words)) == times


def test_over_long_goes_by_the_longest_reference_and_by_characters_in_chinese():
    line = "a b c d e f g h i j"
    assert count("over_long", line, ["x y", "x"]) == 1
    assert count("over_long", line, ["x", "x y z"]) == 0
    assert count("over_long", "一二三四五六七八九十", "猫狗") == 1
    assert count("over_long", "一二三四五六七八九", "猫狗") == 0


def test_words_are_characters_where_no_spaces_are_written():
    assert words("Ich mag GPT-4, ja.") == ["Ich", "mag", "GPT-4,", "ja."]
    assert words("我用 GPT-4翻译") == ["我", "用", "GPT-4", "翻", "译"]


def test_a_loop_of_the_reference_is_no_fault():
    assert count("repeated", "nein nein nein nein", "no no no") == 1
    assert count("repeated", "nein nein nein nein", ["never", "no no no no"]) == 0


def test_counts_examples_and_ratio():
    hypotheses = ["", "a b c", "x", "", "", "", "", "", "d e f"]
    references = [["r s"] * 9]
    behaviour = measure_behaviour(
        hypotheses, references, ["a b c"] * 9, cut_off=[False] * 8 + [True]
    )
    assert behaviour.segments == 9
    assert (behaviour.empty, behaviour.copied, behaviour.cut_off) == (6, 1, 1)
    assert (behaviour.over_long, behaviour.repeated) == (0, 0)
    assert behaviour.length_ratio == 7 / 18
    assert behaviour.examples == {"empty": [1, 4, 5, 6, 7], "copied": [2], "cut_off": [9]}


def test_length_ratio_takes_the_mean_of_references():
    behaviour = measure_behaviour(["a b c"], [["x"], ["x y z"]])
    assert behaviour.length_ratio == 1.5
    assert measure_behaviour(["a"], [[""]]).length_ratio is None


def test_what_is_not_known_is_none():
    behaviour = measure_behaviour(["a b c"], [["x y z"]])
    assert behaviour.copied is None
    assert behaviour.cut_off is None


def test_unequal_counts_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        measure_behaviour(["a", "b"], [["b"]])
    with pytest.raises(ValueError, match="longer"):
        measure_behaviour(["a"], [["b"]], ["c", "d"])
