"""The whole corpus: division, leaks, weights, on small files made by hand."""

import json
from collections import Counter

import pytest

from evokd.data.contamination import normalised
from evokd.data.corpus import build_corpus, corpus_files, load_corpus, save_corpus
from evokd.data.pairs import Pair, by_sentence
from evokd.data.phrasebook import phrasebook
from evokd.errors import InputError
from evokd.recipe.corpus import CorpusSettings

BOTH = ["en-de", "de-en"]
NUMBERS = [f"{a}{b}" for a in "ABCDEFGHIJKLMNOPQRST" for b in "abcdefghijklmnopqrst"]  # 400 words


def lines(path, texts):
    path.write_text("".join(text + "\n" for text in texts), encoding="utf-8")


def bitext(folder, prefix, words, codes=("en", "de")):
    """Every word as a sentence of its own in each language."""
    for code in codes:
        lines(folder / f"{prefix}.{code}", [f"{word} in {code}." for word in words])


def build(folder, directions=BOTH, seed=1, **keys):
    keys = {"train": ["train"], "valid": ["valid"], "test": [{"name": "t", "path": "test"}], **keys}
    # "Aa in en." is nobody's language
    keys["cleaning"] = {"drop_wrong_language": False, **keys.get("cleaning", {})}
    return build_corpus(CorpusSettings(root=str(folder), **keys), directions, seed)


def words_of(pairs):
    return [pair.source.split()[0] for pair in pairs]


@pytest.fixture
def folder(tmp_path):
    bitext(tmp_path, "train", NUMBERS[:200])
    bitext(tmp_path, "valid", NUMBERS[200:210])
    bitext(tmp_path, "test", NUMBERS[210:230])
    return tmp_path


def test_everything_in_its_place(folder):
    corpus = build(folder)
    assert len(corpus.train) == 400
    assert words_of(corpus.train) == [word for word in NUMBERS[:200] for _ in BOTH]
    assert len(corpus.valid) == 20
    assert list(corpus.tests) == [("t", "en-de"), ("t", "de-en")]
    assert corpus.tests["t", "de-en"][3] == Pair(
        f"{NUMBERS[213]} in de.", f"{NUMBERS[213]} in en.", "de", "en", "test:4"
    )
    report = corpus.report
    assert (report["read"], report["kept"], report["reasons"], report["notes"]) == (
        400,
        400,
        {},
        [],
    )
    assert report["directions"]["en-de"] == {
        "cleaned": 200,
        "train": 200,
        "weighted": 200,
        "valid": 10,
    }
    assert [(s["part"], s["pairs"]) for s in report["sources"]] == [
        ("test t", 40),
        ("valid", 20),
        ("train", 400),
    ]


def test_three_directions_of_three_languages(folder):
    for prefix, words in [("train", 200), ("valid", 10), ("test", 20)]:
        lines(folder / f"{prefix}.cs", [f"{prefix}{i} po česku." for i in range(words)])
    corpus = build(folder, ["en-de", "cs-de", "de-en"])
    assert Counter(pair.direction for pair in corpus.train) == {
        "en-de": 200,
        "cs-de": 200,
        "de-en": 200,
    }
    assert [pair.direction for pair in corpus.train[:3]] == ["en-de", "de-en", "cs-de"]
    assert set(corpus.tests) == {("t", "en-de"), ("t", "cs-de"), ("t", "de-en")}


# Leaks


@pytest.mark.parametrize(
    ("english", "german"),
    [
        ("{test} in en.", "Etwas ganz anderes."),  # the source of en-de
        ("Something else entirely.", "{test} in de."),  # the target of en-de
        ("{test}  IN EN", "Nur Satzzeichen und Schreibung."),
        ("{valid} in en!", "Etwas anderes."),
    ],
)
def test_a_sentence_of_a_test_set_leaves_train_both_ways(folder, english, german):
    names = {"test": NUMBERS[215], "valid": NUMBERS[203]}
    for code, text in (("en", english), ("de", german)):
        with open(folder / f"train.{code}", "a", encoding="utf-8") as file:
            file.write(text.format(**names) + "\n")
    part = "valid" if "{valid}" in english else "test"
    corpus = build(folder)
    assert len(corpus.train) == 400
    assert corpus.report["reasons"][f"{part}_leak"]["count"] == 2
    (example,) = corpus.report["reasons"][f"{part}_leak"]["examples"]
    assert example["origin"] == "train:201"
    leaks = corpus.report["leaks"]["train_pairs"]
    assert leaks == {"test t": 2 * (part == "test"), "valid": 2 * (part == "valid")}

    kept = build(folder, cleaning={"drop_test_leaks": False})
    assert len(kept.train) == 402
    assert kept.report["leaks"]["train_pairs"] == leaks
    assert any("were kept" in note for note in kept.report["notes"])


def test_the_same_string_in_another_language_is_no_leak(folder):
    """An English sentence that equals a German test sentence has been translated from nothing."""
    for code, text in (("en", f"{NUMBERS[215]} in de."), ("de", "Etwas anderes.")):
        with open(folder / f"train.{code}", "a", encoding="utf-8") as file:
            file.write(text + "\n")
    assert len(build(folder).train) == 402


def test_a_test_set_of_one_direction_protects_the_other(folder):
    lines(folder / "only.jsonl", [json.dumps({"en": f"{NUMBERS[7]} in en.", "de": "Eins."})])
    test = [{"name": "o", "path": "only.jsonl", "directions": ["en-de"]}]
    corpus = build(folder, test=test)
    assert NUMBERS[7] not in words_of(corpus.train)
    assert len(corpus.train) == 398
    assert "de-en has no test set; it will have no scores" in corpus.report["notes"]


def test_leaks_between_validation_and_test_are_told(folder):
    bitext(folder, "valid", NUMBERS[208:212])  # two of the test set's
    corpus = build(folder)
    assert len(corpus.valid) == 8
    assert corpus.report["leaks"]["valid_pairs"] == {"test t": 4}
    assert "4 of 8 validation pairs share a sentence with test t" in corpus.report["notes"]


def test_punctuation_alone_is_no_sentence(folder):
    with open(folder / "test.en", "a") as en, open(folder / "test.de", "a") as de:
        en.write("?!\n")
        de.write("?!\n")
    corpus = build(folder, cleaning={"min_letter_share": 0, "drop_copies": False})
    assert corpus.report["leaks"]["train_pairs"]["test t"] == 0
    assert normalised("Ａ “Dog”, it's…\u00a0ⅷ") == "adogitsviii"


def test_training_on_the_test_set_is_refused(folder):
    with pytest.raises(InputError, match=r"no training pairs for en-de, de-en: 40 pairs.*leak 40"):
        build(folder, train=["test"])


# Validation text set aside, limits


def test_validation_is_set_aside(folder):
    corpus = build(folder, valid=[])
    assert len(corpus.valid) == 2 * 4  # 2 % of 200 sentence pairs, both directions
    assert len(by_sentence(corpus.valid)) == 4
    assert len(corpus.train) == 2 * 196
    assert not set(words_of(corpus.valid)) & set(words_of(corpus.train))
    assert words_of(corpus.train) == sorted(words_of(corpus.train))  # old order
    assert corpus.report["set_aside_for_valid"] == 8
    assert build(folder, valid=[]) == corpus
    assert build(folder, valid=[], seed=2).valid != corpus.valid


def test_validation_set_aside_takes_its_twins_along(folder):
    """Each English sentence twice, with different translations: no half of a twin may stay."""
    lines(folder / "train.en", [f"{word} in en." for word in NUMBERS[:100] for _ in range(2)])
    corpus = build(folder, valid=[])
    valid = {pair.source for pair in corpus.valid if pair.source_language == "en"}
    assert not valid & {pair.source for pair in corpus.train}
    assert corpus.report["reasons"]["valid_leak"]["count"] == 2 * len(valid)
    left = corpus.report["kept"] - corpus.report["set_aside_for_valid"]
    assert len(corpus.train) == left


def test_at_most_500_sentence_pairs_are_set_aside(folder):
    bitext(folder, "train", [f"{a}{b}" for a in NUMBERS for b in NUMBERS[:75]])  # 30,000
    corpus = build(folder, ["en-de"], valid=[])
    assert len(corpus.valid) == 500
    assert len(corpus.train) == 29_500


def test_limit_counts_sentence_pairs(folder):
    corpus = build(folder, limit=50)
    assert len(corpus.train) == 100
    groups = by_sentence(corpus.train)
    assert [len(group) for group in groups] == [2] * 50
    assert words_of(corpus.train) == sorted(words_of(corpus.train))
    assert words_of(corpus.train)[::2] != NUMBERS[:50]  # random, not the first
    assert corpus.report["left_out_by_limit"] == 300
    assert build(folder, limit=50) == corpus
    assert len(build(folder, limit=1000).train) == 400


# Weights


@pytest.mark.parametrize(
    ("weights", "en_de", "de_en"),
    [
        ({"en-de": 2}, 400, 200),
        ({"en-de": 0.5, "de-en": 1}, 100, 200),
        ({"en-de": 2.25, "de-en": 0}, 450, 0),
        ({"en-de": 1.75, "de-en": 1.005}, 350, 201),
        ({}, 200, 200),
    ],
)
def test_weights_by_hand(folder, weights, en_de, de_en):
    corpus = build(folder, weights=weights)
    counts = Counter(pair.direction for pair in corpus.train)
    assert (counts["en-de"], counts["de-en"]) == (en_de, de_en)
    assert corpus.report["directions"]["en-de"]["train"] == 200
    assert corpus.report["directions"]["en-de"]["weighted"] == en_de
    copies = Counter(word for word in words_of(p for p in corpus.train if p.direction == "en-de"))
    weight = weights.get("en-de", 1)
    assert set(copies.values()) <= {int(weight), int(weight) + (weight % 1 > 0)}
    assert words_of(corpus.train) == sorted(words_of(corpus.train))


# Text without translations


def unpaired(folder, texts, name="more.en", **keys):
    lines(folder / name, texts)
    return {"path": name, "direction": "en-de", **keys}


def test_unpaired_text_is_cleaned_on_its_one_side(folder):
    text = ["  Fine   one. ", "", "12 34 56", "x" * 101, "w " * 251, "Fine one.", "Zwei Hunde."]
    corpus = build(folder, unpaired=[unpaired(folder, text)])
    assert corpus.unpaired == [
        Pair("Fine one.", "", "en", "de", "more.en:1"),
        Pair("Zwei Hunde.", "", "en", "de", "more.en:7"),
    ]
    report = corpus.report["unpaired"]
    assert {reason: dropped["count"] for reason, dropped in report["reasons"].items()} == {
        "empty": 1, "few_letters": 1, "long_word": 1, "too_long": 1, "duplicate": 1,
    }  # fmt: skip
    assert (report["read"], report["kept"], report["repaired"]) == (7, 2, 1)
    assert report["sources"] == [{"path": "more.en", "direction": "en-de", "lines": 7}]
    assert corpus.report["directions"]["en-de"]["unpaired"] == 2
    assert corpus.report["directions"]["de-en"]["unpaired"] == 0
    assert corpus.train == build(folder).train
    assert (corpus.report["read"], corpus.report["kept"]) == (400, 400)  # of pairs, as ever


def test_unpaired_text_leaks_nothing_and_repeats_nothing(folder):
    """English: two lines of the test set, one of validation, one of train; German: one of the test
    set, where it stands on either side."""
    text = [f"{NUMBERS[i]} IN en" for i in (215, 220, 203)] + [f"{NUMBERS[5]} in en.", "New one."]
    sources = [
        unpaired(folder, text),
        {"path": "more.en", "direction": "en-cs"},
        unpaired(folder, [f"{NUMBERS[216]} in de.", "Etwas Neues."], "more.de", direction="de-en"),
    ]
    for prefix, words in [
        ("train", NUMBERS[:200]),
        ("valid", NUMBERS[:10]),
        ("test", NUMBERS[:20]),
    ]:
        lines(folder / f"{prefix}.cs", [f"{prefix} {word} po česku." for word in words])
    corpus = build(folder, ["en-de", "de-en", "en-cs"], unpaired=sources)
    kept = [(pair.direction, pair.source) for pair in corpus.unpaired]
    assert kept == [("en-de", "New one."), ("en-cs", "New one."), ("de-en", "Etwas Neues.")]
    report = corpus.report["unpaired"]
    counts = {reason: dropped["count"] for reason, dropped in report["reasons"].items()}
    assert counts == {"test_leak": 5, "valid_leak": 2, "duplicate": 2}
    assert report["leaks"] == {"test t": 5, "valid": 2}
    loose = build(
        folder,
        unpaired=sources[:1],
        cleaning={"drop_test_leaks": False, "drop_duplicates": False},
    )
    assert len(loose.unpaired) == 5
    assert "2 unpaired sentences stand in test t and were kept" in loose.report["notes"]


def test_what_is_set_aside_is_not_left_in_unpaired_text(folder):
    text = [f"{word} in en." for word in NUMBERS[:200]] + ["New one."]
    corpus = build(folder, valid=[], unpaired=[unpaired(folder, text)])
    assert [pair.source for pair in corpus.unpaired] == ["New one."]
    reasons = corpus.report["unpaired"]["reasons"]
    assert reasons["valid_leak"]["count"] == len(corpus.valid) / 2 == 4
    assert reasons["duplicate"]["count"] == 196


def test_unpaired_text_may_be_one_side_of_a_corpus_with_an_address(folder):
    text = [{"path": "phrasebook:train", "direction": "de-en", "skip": 5, "limit": 7}]
    corpus = build(folder, unpaired=text)
    expected = [(sentence["de"], "") for sentence in phrasebook("train")[5:12]]
    assert [(pair.source, pair.target) for pair in corpus.unpaired] == expected
    assert {pair.direction for pair in corpus.unpaired} == {"de-en"}


def test_unpaired_text_has_limits_and_weights(folder):
    source = unpaired(folder, [f"{word} is new." for word in NUMBERS[:40]], limit=10, skip=3)
    corpus = build(folder, unpaired=[source], weights={"en-de": 2.5})
    assert len(corpus.unpaired) == 25
    assert Counter(Counter(pair.source for pair in corpus.unpaired).values()) == {2: 5, 3: 5}
    assert {pair.source.split()[0] for pair in corpus.unpaired} == set(NUMBERS[3:13])
    assert corpus.report["directions"]["en-de"]["unpaired"] == 10


def test_a_study_without_parallel_training_text(folder):
    """The recipe asks for one source of training pairs; the corpus itself doesn't need any."""
    text = [unpaired(folder, ["New one."]), unpaired(folder, ["Etwas."], "de", direction="de-en")]
    settings = CorpusSettings(
        root=str(folder),
        train=["train"],
        valid=["valid"],
        test=[{"name": "t", "path": "test"}],
        unpaired=text,
    ).model_copy(update={"train": ()})
    corpus = build_corpus(settings, BOTH, seed=1)
    assert (corpus.train, len(corpus.valid), len(corpus.unpaired)) == ([], 20, 2)
    assert [note for note in corpus.report["notes"] if "no training pairs" in note] != []
    alone = build_corpus(settings.model_copy(update={"valid": ()}), BOTH, seed=1)
    assert (alone.train, alone.valid) == ([], [])
    assert "en-de has no validation text" in alone.report["notes"]
    with pytest.raises(InputError, match="no training pairs for de-en: 0 pairs were read"):
        build_corpus(settings.model_copy(update={"unpaired": settings.unpaired[:1]}), BOTH, seed=1)


def test_unpaired_files_are_named_and_must_be_there(folder):
    keys = {"test": [{"name": "t", "path": "test"}], "root": str(folder), "train": ["train"]}
    source = unpaired(folder, ["New one."])
    files = corpus_files(CorpusSettings(**keys, unpaired=[source, source]), BOTH)
    assert files == [folder / f"{n}.{c}" for n in ("train", "test") for c in ("en", "de")] + [
        folder / "more.en"
    ]
    with pytest.raises(InputError, match="nowhere not found"):
        corpus_files(CorpusSettings(**keys, unpaired=[{**source, "path": "nowhere"}]), BOTH)


# Tests and notes


def test_one_test_set_from_a_file_per_direction(folder):
    lines(folder / "x.jsonl", ['{"en": "dog", "de": "Hund"}'])
    lines(folder / "y.jsonl", ['{"en": "mouse", "de": "Maus"}', '{"en": "", "de": ""}'])
    test = [
        {"name": "w", "path": "x.jsonl", "directions": ["en-de"]},
        {"name": "w", "path": "y.jsonl", "directions": ["de-en"]},
    ]
    tests = build(folder, test=test).tests
    assert [p.source for p in tests["w", "en-de"]] == ["dog"]
    assert [p.source for p in tests["w", "de-en"]] == ["Maus", ""]  # never cleaned
    del test[1]["directions"]
    with pytest.raises(InputError, match=r"w has en-de twice: from x\.jsonl and from y\.jsonl"):
        build(folder, test=test)


def test_a_direction_without_training_text(folder):
    bitext(folder, "valid", NUMBERS[200:210], ("cs",))
    train = [{"path": "train", "languages": ["en", "de"]}]
    test = [{"name": "t", "path": "test", "languages": ["en", "de"]}]
    with pytest.raises(InputError, match="no training pairs for cs-en: 200 pairs were read"):
        build(folder, ["en-de", "cs-en"], train=train, test=test)


def test_lines_that_do_not_belong_together_are_noticed(folder):
    long_and_short = [word + " x" * (i * 7 % 40) for i, word in enumerate(NUMBERS)]
    lines(folder / "train.en", long_and_short)
    lines(folder / "train.de", long_and_short)
    relaxed = {"drop_copies": False}
    assert build(folder, cleaning=relaxed).report["notes"] == []
    lines(folder / "train.de", long_and_short[3:] + long_and_short[:3])
    (note,) = build(folder, cleaning=relaxed).report["notes"]
    assert "hardly go together" in note


def test_training_text_is_cleaned_and_tests_are_not(folder):
    for part in ("train", "test"):
        with open(folder / f"{part}.en", "a") as en, open(folder / f"{part}.de", "a") as de:
            en.write("Berlin\n\n a  b \n")
            de.write("Berlin\nleer\n c\td \n")
    corpus = build(folder, cleaning={"drop_test_leaks": False})
    assert corpus.train[-2:] == [
        Pair("a b", "c d", "en", "de", "train:203"),
        Pair("c d", "a b", "de", "en", "train:203"),
    ]
    assert corpus.tests["t", "en-de"][-1] == Pair(" a  b ", " c\td ", "en", "de", "test:23")
    counts = {reason: facts["count"] for reason, facts in corpus.report["reasons"].items()}
    assert counts == {"copy": 2, "empty": 2}


# In its run folder


def test_a_corpus_survives_its_folder(folder, tmp_path):
    corpus = build(folder, unpaired=[unpaired(folder, ["New one.", "Newer one."])])
    save_corpus(corpus, tmp_path / "saved")
    assert load_corpus(tmp_path / "saved") == corpus
    (tmp_path / "saved/unpaired.jsonl").unlink()  # as corpora were before
    assert load_corpus(tmp_path / "saved").unpaired == []
    plain = build(folder)
    save_corpus(plain, tmp_path / "plain")
    assert not (tmp_path / "plain/unpaired.jsonl").exists()
    assert load_corpus(tmp_path / "plain") == plain


def test_models_and_students_may_have_text_of_their_own(folder, tmp_path):
    noise = {"kind": "truncated", "share": 0.5}
    own = {"path": "train", "use": "students", "skip": 150, "limit": 30, "noise": noise}
    corpus = build(folder, train=[{"path": "train", "use": "models", "limit": 120}, own])
    assert words_of(corpus.models) == [word for word in NUMBERS[:120] for _ in BOTH]
    assert words_of(corpus.train) == [word for word in NUMBERS[150:180] for _ in BOTH]
    assert len(corpus.noise) == 30
    assert corpus.report["models"]["kept"] == 240
    save_corpus(corpus, tmp_path / "corpus")
    assert load_corpus(tmp_path / "corpus").models == corpus.models
    assert not build(folder).models


@pytest.mark.parametrize(
    ("held_out", "least", "left"), [(12, 5, 188), (500, 5, 180), (3, 5, 195), (500, 50, 200)]
)
def test_some_pairs_are_kept_from_the_teacher(folder, monkeypatch, held_out, least, left):
    """As many as are named, both directions of each, a tenth at most, and enough or none."""
    monkeypatch.setattr("evokd.data.division.HELD_OUT_LEAST", least)
    corpus = build(folder, held_out=held_out)
    train, models = words_of(corpus.train), words_of(corpus.models)
    assert (len(train), len(models)) == (400, 2 * left)
    assert set(models) <= set(train)
    assert sorted(models) == sorted(2 * list(dict.fromkeys(models)))
    assert corpus.report["held_out"] == 200 - left


def test_what_is_held_out_is_held_out_in_every_language_and_use(folder, monkeypatch):
    """No third language tells the teacher, nor does text of its own."""
    monkeypatch.setattr("evokd.data.division.HELD_OUT_LEAST", 5)
    own = {"path": "train", "use": "models", "limit": 150}
    other = {"path": "train", "use": "students"}
    corpus = build(folder, train=[own, other], held_out=20)
    assert corpus.report["held_out"] == 20
    unseen = set(words_of(corpus.train)) - set(words_of(corpus.models))
    assert 50 < len(unseen) < 70, "the last 50, and some of the first 150"
    for prefix, words in [("train", 200), ("valid", 10), ("test", 20)]:
        lines(folder / f"{prefix}.cs", [f"{prefix}{i} po česku." for i in range(words)])
    three = build(folder, ["en-de", "cs-de"], held_out=20)
    told = {pair.target for pair in three.models}
    unseen = set(three.train) - set(three.models)
    assert {pair.direction for pair in unseen} == {"en-de", "cs-de"}
    assert not told & {pair.target for pair in unseen}, "nor a third language"


def test_teacher_and_start_need_text_that_outlives_the_cleaning(folder):
    nothing = {"path": "train", "use": "models", "noise": {"kind": "copied", "share": 1}}
    with pytest.raises(InputError, match="no training pairs for teacher and start: 400 pairs"):
        build(folder, train=[nothing, {"path": "train", "use": "students"}])


def test_each_use_has_text(folder):
    with pytest.raises(ValueError, match="no source is for students; add one with use: students"):
        build(folder, train=[{"path": "train", "use": "models"}])
