"""Training text through files and processes is what plain lists and sets make of it."""

import random
import tracemalloc
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from evokd.data import cleaning, sifting, workers
from evokd.data.cleaning import CleaningReport, Tally, clean
from evokd.data.contamination import held_out_sentences, normalised
from evokd.data.corpus import build_corpus, load_corpus, save_corpus
from evokd.data.division import hold_out, sample, set_aside, weigh
from evokd.data.identification import Languages, in_language
from evokd.data.languages import language
from evokd.data.pairs import Pair, StoredPairs, by_sentence, different_texts, write_pairs
from evokd.data.repair import put_right
from evokd.data.sources import load_pairs
from evokd.recipe.corpus import CleaningSettings, CorpusSettings

TEXT = load_pairs("phrasebook:train:400", "en-de", "de-en", "en-cs")
HELD_OUT = load_pairs("phrasebook:test:20", "en-de")


def spoilt(pair, chance):
    """A pair with one of the things that are wrong with text, or none."""
    source, target = pair.source, pair.target
    return chance.choice(
        [
            *([pair] * 6),
            replace(pair, source=target, target=source),
            replace(pair, target=source),
            replace(pair, source=""),
            replace(pair, source=f"<b>{source}</b>", target=f"{target} &amp; 7"),
            replace(pair, target=target.encode().decode("latin1")),
            replace(pair, source=source.replace(" ", "\u00a0"), target=f"{target}\u200b"),
            replace(pair, source="1 2 3 4 5 6 7 8 9", target=f"{target} ???"),
            replace(pair, source="word " * 30),
            replace(pair, target="Ceci n'est pas une phrase allemande, bien sûr."),
            replace(HELD_OUT[chance.randrange(len(HELD_OUT))], origin=pair.origin),
            replace(pair, source="Schn?rsenkel sind l\ufffdse", target="What is 3/4? Who?"),
        ]
    )


def dirty(seed, count=300):
    """Sentences in all their directions, some spoilt, some twice."""
    chance = random.Random(seed)
    groups = by_sentence(TEXT)
    pairs = []
    for _ in range(count):
        pairs += [spoilt(p, chance) if chance.random() < 0.5 else p for p in chance.choice(groups)]
    return [replace(p, origin=f"{p.origin}/{n // 2}") for n, p in enumerate(pairs)]


def naive(pairs, settings, held_out, translated=None):
    """Cleaning and leaks, a pair after the other; each text is asked for alone."""
    report, kept, one_sided = CleaningReport(), [], translated is not None
    seen = {(p.direction, p.source, "") for p in translated or ()}
    alone = [s for s in ("mojibake", "markup") if getattr(settings, s) == "keep"]
    for read in pairs:
        report.read += 1
        (source, one), (target, other) = (put_right(t, alone) for t in (read.source, read.target))
        repairs = list(dict.fromkeys((*one, *other)))
        pair = replace(read, source=source, target=target)
        dropping = [s for s in repairs if s != "characters" and getattr(settings, s) == "drop"]
        reason = (dropping or [None])[0] or cleaning._reason_to_drop(pair, settings, one_sided)
        sides = [(source, pair.source_language), (target, pair.target_language)][: 2 - one_sided]
        if reason is None and not one_sided and settings.swapped_sides != "keep":
            (a, x), (b, y) = sides
            right = in_language(a, x) or in_language(b, y)
            if not right and in_language(a, y) and in_language(b, x):
                pair, sides = replace(pair, source=b, target=a), [(b, x), (a, y)]
                repairs.append("swapped_sides")
                reason = "swapped_sides" if settings.swapped_sides == "drop" else None
        if reason is None and settings.drop_wrong_language:
            reason = None if all(in_language(*side) for side in sides) else "wrong_language"
        if reason is None and settings.drop_duplicates:
            key = (pair.direction, pair.source, pair.target)
            reason = "duplicate" if key in seen else None
            seen.add(key)
        if reason is not None:
            report.drop(reason, read)
            continue
        if repairs:
            report.repair(repairs, read, pair)
        if not one_sided and cleaning._digits(pair.source) != cleaning._digits(pair.target):
            report.warnings.setdefault("number_mismatch", Tally()).add(pair)
        kept.append(pair)
    cleaned, left = Counter(pair.direction for pair in kept), []
    leaks = dict.fromkeys(held_out, 0)
    for pair in kept:
        own = sides_of(pair)
        sets = [name for name, those in held_out.items() if own & those]
        leaks.update({name: leaks[name] + 1 for name in sets})
        if sets and settings.drop_test_leaks:
            report.drop("valid_leak" if sets == ["valid"] else "test_leak", pair)
        else:
            left.append(pair)
    return left, report, leaks, cleaned


def sides_of(pair):
    sides = (pair.source, pair.source_language), (pair.target, pair.target_language)
    return {(language(code).code, normalised(text)) for text, code in sides if normalised(text)}


@pytest.fixture
def small_chunks(monkeypatch):
    """So that a small text is many chunks."""
    monkeypatch.setattr(sifting, "TOGETHER", 32)
    monkeypatch.setattr(cleaning, "TOGETHER", 50)


ODD = {"mojibake": "drop", "markup": "keep", "swapped_sides": "drop", "max_words": 12}
LAX = {"drop_duplicates": False, "drop_wrong_language": False, "drop_test_leaks": False}


@pytest.mark.parametrize("settings", [{}, ODD, LAX])
@pytest.mark.parametrize("seed", range(4))
def test_the_same_pairs_counts_and_examples_as_one_by_one(small_chunks, tmp_path, seed, settings):
    pairs, settings = dirty(seed), CleaningSettings(**settings)
    valid = TEXT[40:46]
    held_out = held_out_sentences(valid, {("t", "en-de"): HELD_OUT})
    sentences = {
        "test t": set().union(*map(sides_of, HELD_OUT)),
        "valid": set().union(*map(sides_of, valid)),
    }
    left, report, leaks, cleaned = naive(pairs, settings, sentences)
    assert len(report.reasons) > 3
    found = sifting.sift_all(pairs, settings, held_out, tmp_path, processes=1)
    assert list(found.pairs) == left
    assert str(found.report.as_dict()) == str(report.as_dict())  # in the same order, too
    assert (found.leaks, found.cleaned) == (leaks, cleaned)
    assert found.pairs.counts() == Counter(pair.direction for pair in left)
    assert list(tmp_path.iterdir()) == []  # its files have no names


def test_text_without_translations_too(small_chunks, tmp_path):
    pairs = [replace(pair, target="") for pair in dirty(9)]
    left, report, leaks, _ = naive(pairs, CleaningSettings(), {}, TEXT[:100])
    found = sifting.sift_all(pairs, CleaningSettings(), {}, tmp_path, TEXT[:100])
    assert (list(found.pairs), found.leaks) == (left, leaks)
    assert str(found.report.as_dict()) == str(report.as_dict())
    kept, report = clean(pairs, CleaningSettings(), TEXT[:100])
    assert (kept, str(report.as_dict())) == (left, str(found.report.as_dict()))


def test_several_processes_give_what_one_gives(small_chunks, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_cores", lambda: 3)
    pairs, held_out = dirty(5, 400), held_out_sentences([], {("t", "en-de"): HELD_OUT})
    one, three = (
        sifting.sift_all(pairs, CleaningSettings(), held_out, tmp_path, processes=count)
        for count in (1, None)
    )
    assert list(one.pairs) == list(three.pairs)
    assert str(one.report.as_dict()) == str(three.report.as_dict())
    assert (one.leaks, one.cleaned) == (three.leaks, three.cleaned)
    for name in ("sentence", "origin", "source", "target", "direction"):
        assert (one.pairs.column(name) == three.pairs.column(name)).all()


def test_many_texts_are_told_as_each_alone():
    chance = random.Random(2)
    texts = [t for p in dirty(3) for t in (p.source, p.target)]
    texts += [text[: chance.randrange(1, 30)] for text in texts[:200]]
    texts += [
        "12 345 678 901",
        "ABC DEF GHI JKL",
        "漢字仮名交じり文です。",
        "…" * 9,
        "x" * 5000,
        "",
    ]
    languages = Languages(texts)
    told = Counter()
    for text in texts:
        for code in ("en", "de", "cs", "sr", "zh", "liv"):
            assert languages.may_be(text, code) == in_language(text, code), (text, code)
            told[in_language(text, code)] += 1
    assert min(told.values()) > 100


# Division, against lists


def naive_sample(pairs, size, chance):
    groups = by_sentence(pairs)
    if size >= len(groups):
        return pairs
    return [p for i in sorted(chance.sample(range(len(groups)), size)) for p in groups[i]]


def naive_set_aside(train, chance):
    groups, by_languages, chosen = by_sentence(train), {}, set()
    share = min(0.02, 500 / max(len(groups), 1))
    for i, (pair, *_) in enumerate(groups):
        key = frozenset((pair.source_language, pair.target_language))
        by_languages.setdefault(key, []).append(i)
    for members in by_languages.values():
        if len(members) > 1:
            chosen.update(chance.sample(members, max(1, int(share * len(members)))))
    valid = [pair for i in sorted(chosen) for pair in groups[i]]
    held_out = set().union(*map(sides_of, valid))
    rest = [pair for i, group in enumerate(groups) if i not in chosen for pair in group]
    return [p for p in rest if not sides_of(p) & held_out], valid


def naive_hold_out(train, models, size, chance, least):
    languages, members, chosen = {}, {}, set()
    for pair in train:
        languages.setdefault(pair.origin, set()).update(pair.direction.split("-"))
    for origin, codes in languages.items():
        members.setdefault(frozenset(codes), []).append(origin)
    for origins in members.values():
        share = size * len(origins) // max(len(languages), 1)
        count = min(max(share, least), len(origins) // 10)
        chosen.update(chance.sample(origins, count) if count >= least else ())
    return [pair for pair in models if pair.origin not in chosen], len(chosen)


def naive_weigh(train, weights, chance):
    extra = set()
    for direction in dict.fromkeys(pair.direction for pair in train):
        members = [i for i, pair in enumerate(train) if pair.direction == direction]
        extra.update(chance.sample(members, round(weights.get(direction, 1) % 1 * len(members))))
    return [
        p
        for i, p in enumerate(train)
        for _ in range(int(weights.get(p.direction, 1)) + (i in extra))
    ]


@pytest.mark.parametrize("seed", range(5))
def test_text_is_divided_as_lists_are(small_chunks, tmp_path, seed, monkeypatch):
    monkeypatch.setattr("evokd.data.division.HELD_OUT_LEAST", 3)
    lax = CleaningSettings(drop_duplicates=seed % 2 == 0)
    stored = sifting.sift_all(dirty(seed), lax, {}, tmp_path).pairs
    pairs = list(stored)

    def chance():
        return random.Random(f"{seed}:division")

    for size in (1, 50, 10**6):
        assert list(sample(stored, size, chance())) == naive_sample(pairs, size, chance())
    report = CleaningReport()
    rest, valid = set_aside(stored, report, chance())
    assert (list(rest), valid) == naive_set_aside(pairs, chance())
    gone = sum(tally.count for tally in report.reasons.values())
    assert len(rest) + len(valid) + gone == len(pairs)
    some = sample(stored, 100, chance())
    held, count = hold_out(some, stored, 30, chance())
    assert (list(held), count) == naive_hold_out(list(some), pairs, 30, chance(), 3)
    assert count > 0
    for weights in ({}, {"en-de": 2.5, "de-en": 0.3}, {"en-cs": 0}):
        assert list(weigh(rest, weights, chance())) == naive_weigh(list(rest), weights, chance())


# Files and memory


def test_any_choice_of_stored_pairs_is_that_of_a_list(tmp_path):
    chance, pairs = np.random.default_rng(1), dirty(1, 2000)
    write_pairs(tmp_path / "p", pairs)
    stored = StoredPairs.of_file(tmp_path / "p")
    assert (len(stored), list(stored)) == (len(pairs), pairs)
    assert (stored[7], stored[-1], stored[3:9], stored[::500]) == (
        *(pairs[7], pairs[-1], pairs[3:9], pairs[::500]),
    )
    for size in (0, 3, 3000):
        rows = chance.integers(0, len(pairs), size)
        taken = stored.take(rows)
        assert list(taken) == [pairs[row] for row in rows]
        again = taken.take(np.arange(0, size, 2))
        assert list(again) == [pairs[row] for row in rows[::2]]
        write_pairs(tmp_path / "q", again)
        assert list(StoredPairs.of_file(tmp_path / "q")) == list(again)
    texts = dict.fromkeys(t for p in pairs for t in (p.source, p.target))
    assert list(different_texts(stored)) == list(texts)


def test_a_whole_corpus_survives_its_folder_and_needs_no_names_for_its_files(tmp_path):
    settings = CorpusSettings(
        train=[{"path": "phrasebook:train:300"}],
        test=[{"name": "t", "path": "phrasebook:test:10"}],
        weights={"en-de": 1.5},
    )
    (tmp_path / "scratch").mkdir()
    corpus = build_corpus(settings, ["en-de", "de-en"], 1, scratch=tmp_path / "scratch")
    assert not list((tmp_path / "scratch").iterdir())
    save_corpus(corpus, tmp_path / "corpus")
    assert load_corpus(tmp_path / "corpus") == corpus
    before = (tmp_path / "corpus/train.jsonl").read_bytes()
    write_pairs(tmp_path / "plain.jsonl", list(corpus.train))  # not line by line from a file
    assert (tmp_path / "plain.jsonl").read_bytes() == before


def bytes_held(count, folder):
    """The most that Python and numpy hold while so many sentences go through."""

    def pairs():
        for number in range(count):
            english = f"The train number {number} comes to the old town in the evening of a day."
            german = f"Der Zug Nummer {number} kommt am Abend eines Tages in die alte Stadt."
            yield Pair(english, german, "en", "de", f"f:{number}")
            yield Pair(german, english, "de", "en", f"f:{number}")

    tracemalloc.start()
    found = sifting.sift_all(pairs(), CleaningSettings(), {}, folder, processes=1)
    train, _ = set_aside(found.pairs, found.report, random.Random(1))
    write_pairs(folder / "train.jsonl", train)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(train) > 1.9 * count
    return held


def test_memory_grows_by_far_less_than_the_text_does(small_chunks, tmp_path):
    bytes_held(1000, tmp_path)  # loads the tables of all languages
    small, large = bytes_held(4000, tmp_path), bytes_held(12_000, tmp_path)
    tracemalloc.start()
    in_a_list = list(StoredPairs.of_file(tmp_path / "train.jsonl"))
    as_pairs = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(in_a_list) > 20_000
    assert (large - small) / 8000 < as_pairs / 12_000 / 5
