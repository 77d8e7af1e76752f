"""Misbehaving outputs, made by hand."""

from dataclasses import fields

import pytest

from evokd.evaluate.behaviour import KINDS, Behaviour, measure_behaviour, words


def count(kind, hypothesis, reference, source="one two three four", **languages):
    references = [[reference]] if isinstance(reference, str) else [[line] for line in reference]
    return getattr(measure_behaviour([hypothesis], references, [source], **languages), kind)


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


def test_counts_lines_and_ratio():
    hypotheses = ["", "a b c", "x", "", "", "", "", "", "d e f"]
    references = [["r s"] * 9]
    behaviour = measure_behaviour(
        hypotheses, references, ["a b c"] * 9, cut_off=[False] * 8 + [True]
    )
    assert behaviour.segments == 9
    assert (behaviour.empty, behaviour.copied, behaviour.cut_off) == (6, 1, 1)
    assert (behaviour.over_long, behaviour.repeated) == (0, 0)
    assert behaviour.length_ratio == 7 / 18
    assert behaviour.lines == {"empty": [1, 4, 5, 6, 7, 8], "copied": [2], "cut_off": [9]}


def test_length_ratio_takes_the_mean_of_references():
    behaviour = measure_behaviour(["a b c"], [["x"], ["x y z"]])
    assert behaviour.length_ratio == 1.5
    assert measure_behaviour(["a"], [[""]]).length_ratio is None


def test_what_is_not_known_is_none():
    behaviour = measure_behaviour(["a b c"], [["x y z"]])
    for kind in set(KINDS) - {"empty", "over_long", "over_short", "repeated"}:
        assert getattr(behaviour, kind) is None
    # py3langid has never seen Lower Sorbian
    behaviour = measure_behaviour(["a b c"], [["x y z"]], ["a"], target="dsb", others=["de"])
    assert behaviour.off_target is None


def test_kinds_are_the_counts_of_a_row():
    numbers = {"segments", "length_ratio", "lines"}
    assert {one.name for one in fields(Behaviour)} == {*KINDS, *numbers}


@pytest.mark.parametrize(
    ("output_words", "reference_words", "times"),
    [(10, 25, 0), (10, 26, 1), (1, 7, 0), (1, 8, 1), (0, 9, 0)],
)
def test_over_short_is_over_long_turned_round(output_words, reference_words, times):
    line = " ".join(f"w{n}" for n in range(output_words))
    assert count("over_short", line, " ".join(["r"] * reference_words)) == times


CAT = {
    "en": "The cat has been sleeping on the old sofa since this morning.",
    "de": "Die Katze schläft seit heute Morgen auf dem alten Sofa.",
    "cs": "Kočka od dnešního rána spí na staré pohovce.",
    "fr": "Le chat dort depuis ce matin sur le vieux canapé.",
    "zh": "那只猫从今天早上起就一直睡在旧沙发上。",
    "ja": "その猫は今朝から古いソファーの上でずっと眠っています。",
    "ar": "تنام القطة على الأريكة القديمة منذ هذا الصباح.",
    "ru": "Кошка спит на старом диване с самого утра.",
}


@pytest.mark.parametrize("target", CAT)
@pytest.mark.parametrize("written", CAT)
def test_another_language_of_the_study_is_off_target(target, written):
    found = count("off_target", CAT[written], "x", target=target, others=list(CAT))
    assert found == (written != target)


@pytest.mark.parametrize(
    ("target", "line", "reference"),
    [
        ("de", "Tap Accounts", "Konten"),  # 12 bytes say little
        ("de", "OK.", "Gut."),
        ("cs", "Mačka spí od rána na starej pohovke.", CAT["cs"]),  # Slovak is too near
        ("en", "Der Spiegel, Die Zeit, Frankfurter Allgemeine", "Der Spiegel, Die Zeit und FAZ"),
        ("de", "", "Gut."),
    ],
)
def test_what_cannot_be_told_is_not_off_target(target, line, reference):
    assert count("off_target", line, reference, target=target, others=["en", "de", "sk"]) == (
        line == "Tap Accounts"
    )


@pytest.mark.parametrize(
    ("source", "line", "reference", "times"),
    [
        ("We ship it by special delivery today.", "Wir senden by special delivery.", "Heute.", 1),
        ("He joined Royal Mail First Class.", "Er kam zu Royal Mail First Class.", "Er kam.", 0),
        ("They say as good as it gets.", "Man sagt as good as it gets.", "„as good as it gets“", 0),
        ("a b c 1 2 3", "a b c 1 2 3 d", "e", 0),  # no words
        ("the grey cat sleeps", "the grey cat sleeps", "die graue Katze schläft", 0),  # a copy
        ("Kočka spí na staré pohovce.", "The cat spí na staré sofa.", CAT["en"], 1),
        ("公司今天发布了新产品。", "The 公司 has a new product today.", "The company did.", 1),
        ("公司今天发布了新产品。", "The company has a new product today.", "The company did.", 0),
        ("孔子 said so", "孔子 said", "孔子 sagte es", 0),  # the reference has it
        ("その猫は眠っています。", "那只猫睡っています。", "那只猫睡着了。", 1),
        (CAT["ar"], "The القطة sleeps.", CAT["en"], 1),
        (CAT["ru"], "The щенок sleeps.", CAT["en"], 0),  # it isn't of the source
        (CAT["ru"], "The диване sleeps.", CAT["en"], 1),
        ("The iPhone 15 is here", "iPhone 15 来了", "iPhone 15 来了", 0),
        ("The cat is on the sofa", "猫 is on the 沙发", "猫在沙发上", 1),
    ],
)
def test_untranslated(source, line, reference, times):
    assert count("untranslated", line, reference, source) == times


@pytest.mark.parametrize(
    ("source", "line", "reference", "times"),
    [
        ("It costs 1,000.5 euros.", "Es kostet 1.000,5 Euro.", "Teuer.", 0),
        ("It costs 1,000.5 euros.", "Es kostet 1.005 Euro.", "Es kostet 1.000,5 Euro.", 1),
        ("It costs 1,000.5 euros.", "Es kostet viel.", "Es ist teuer.", 0),
        ("It costs 35 euros.", "Es kostet viel.", "Es kostet 35 Euro.", 1),
        ("We have 3 cats.", "Wir haben drei Katzen.", "Wir haben 3 Katzen.", 0),
        ("We have 3 cats.", "Wir haben 4 Katzen.", "Wir haben 3 Katzen.", 1),
        ("At 12:39.", "Um 12.39 Uhr.", "Um 12:39 Uhr.", 0),
        ("At 9 pm.", "Ve 21 hodin.", "V 9 večer.", 0),
        ("Since the 90s.", "Seit den 1990ern.", "Seit den 90ern.", 0),
        ("On 12/24/2021", "Am 24.12.2021", "Am 24.12.2021", 0),
        ("On 12/24/2021", "Am 24.12.2012", "Am 24.12.2021", 1),
        ("عدد السكان ١٥٠٠ نسمة", "There are 1,500 inhabitants.", "There are 1500 people.", 0),
        ("عدد السكان ١٥٠٠ نسمة", "There are 1,600 inhabitants.", "There are 1500 people.", 1),
        ("It has 15,000 seats.", "共有1.5万个座位。", "共有15000个座位。", 0),
        ("It has 15,000 seats.", "共有1.6万个座位。", "共有15000个座位。", 1),
        ("2023年に始まった。", "It began in 2022.", "It began in 2023.", 1),
        ("2023年に始まった。", "It began in 2023.", "It began in 2023.", 0),
    ],
)
def test_numbers(source, line, reference, times):
    assert count("numbers", line, reference, source) == times


@pytest.mark.parametrize(
    ("kind", "source", "line", "times"),
    [
        ("urls", "See https://a.org/b?c=1.", "Siehe https://a.org/b?c=1.", 0),
        ("urls", "See https://a.org/b?c=1.", "Siehe https://a.org/b.", 1),
        ("urls", "Write to me@a.org", "اكتب إلى me@a.org", 0),
        ("urls", "Write to me@a.org", "اكتب إلى", 1),
        ("placeholders", "See https://a.org", "Siehe", 0),
        ("placeholders", "Hello {name}, you have %d", "你好 {name}，你有 %d", 0),
        ("placeholders", "Hello {name}, you have %d", "你好 {名字}，你有 %d", 1),
        ("placeholders", "Order #NUMBER#", "Bestellung #NUMMER#", 1),
        ("placeholders", "A <b>big</b> cat", "Eine <b>große Katze", 1),
        ("placeholders", "A <b>big</b> cat", "<b>大きい</b>猫", 0),
        ("placeholders", "Tom &amp; Jerry", "Tom & Jerry", 0),
    ],
)
def test_urls_and_placeholders(kind, source, line, times):
    assert count(kind, line, source, source) == times
    assert count(kind, line, "without", source) == 0  # the reference has none either


def test_a_phrase_that_comes_back_too_often():
    once = "he went to the market and bought some bread for us"
    thrice = f"{once}, {once} again, and then {once} once more"
    assert count("repeated", thrice, "er ging einkaufen") == 1
    assert count("repeated", f"{once}, {once} again", "er ging einkaufen") == 0
    assert count("repeated", thrice, thrice.upper()) == 0
    assert count("repeated", thrice, "er ging", source=thrice.upper()) == 0


def test_unequal_counts_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        measure_behaviour(["a", "b"], [["b"]])
    with pytest.raises(ValueError, match="longer"):
        measure_behaviour(["a"], [["b"]], ["c", "d"])
