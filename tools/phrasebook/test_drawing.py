"""The corpus that is drawn: its size, form, distinctness and determinism, and the shipped file."""

# A sentence stands on one line.
# ruff: noqa: E501

from __future__ import annotations

import hashlib
import lzma
import math
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import combinations

import pytest

import make
from drawing import LANGUAGES, PATTERNS, Triple, phrasebook
from grammar import patterns as grammar
from grammar import people


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Triple]]:
    return phrasebook()


def texts(triple: Triple) -> tuple[str, str, str]:
    return triple.english, triple.german, triple.czech


def test_sizes_languages_and_patterns(splits):
    assert LANGUAGES == ("en", "de", "cs")
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 20_000, "valid": 500, "test": 1_000}  # fmt: skip
    assert {triple.pattern for triple in splits["train"]} == set(PATTERNS)
    assert not any(triple.unseen for triple in splits["train"] + splits["valid"])


def test_no_sentence_occurs_twice_in_any_language(splits):
    everything = [triple for split in splits.values() for triple in split]
    for language in range(3):
        sentences = [texts(triple)[language].casefold() for triple in everything]
        assert len(set(sentences)) == len(sentences)


def test_form_of_sentences(splits):
    faults = re.compile(r"[{}|_*<>]|\bNone\b|  | [.,?!]|[.,?!]{2}|[.,?!]\w|^\s|\s$|\n|\(|\)")
    for split in splits.values():
        for triple in split:
            for text in texts(triple):
                assert not faults.search(text), text
                assert text[0].isupper(), text
                assert text[-1] in ".?!", text
                assert text.isprintable(), text
                assert 2 <= len(text.split()) <= 22, text
            marks = {text[-1] for text in texts(triple)}
            assert len(marks) == 1, triple


def test_letters_belong_to_the_language(splits):
    names = {letter for person in people.NAMES for letter in person.en.lower()}
    names |= {letter for surname in people.SURNAMES for letter in surname.en.lower()}
    alphabet = set("abcdefghijklmnopqrstuvwxyz '.,?!-") | {"é"} | names
    own = (alphabet, alphabet | set("äöüß0123456789"), alphabet | set("áčďéěíňóřšťúůýž"))
    for triple in splits["train"]:
        for text, letters in zip(texts(triple), own, strict=True):
            assert set(text.lower()) <= letters, text


def test_german_commas_before_subordinate_clauses(splits):
    for triple in splits["train"]:
        for word in ("weil", "dass"):
            if f" {word} " in triple.german:
                assert f", {word} " in triple.german, triple.german
        for word in ("protože", "že", "ale", "který", "která", "kterou"):
            if f" {word} " in triple.czech:
                assert f", {word} " in triple.czech, triple.czech


def pairs(triple: Triple) -> set[tuple[str, str]]:
    return set(combinations(sorted(triple.words), 2))


def test_unseen_combinations_are_unseen(splits):
    known = set().union(*(pairs(triple) for triple in splits["train"] + splits["valid"]))
    words = {word for triple in splits["train"] for word in triple.words}
    unseen = [triple for triple in splits["test"] if triple.unseen]
    assert len(unseen) == 400
    for triple in unseen:
        assert pairs(triple) - known, triple
        assert set(triple.words) <= words, triple  # each word by itself is known


def test_unseen_sentences_are_not_all_at_one_end(splits):
    first_half = sum(triple.unseen for triple in splits["test"][:500])
    assert 120 < first_half < 280


def test_words_fall_off_like_zipf(splits):
    """Few words are frequent, many rare; log frequency falls about linearly with log rank."""
    for language in range(3):
        counts = Counter(
            word
            for triple in splits["train"]
            for word in re.findall(r"\w+", texts(triple)[language].lower())
        )
        ranked = [count for _, count in counts.most_common(400)]
        points = [(math.log(rank), math.log(count)) for rank, count in enumerate(ranked, 1)]
        mean_x = sum(x for x, _ in points) / len(points)
        mean_y = sum(y for _, y in points) / len(points)
        slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum(
            (x - mean_x) ** 2 for x, _ in points
        )
        assert -1.3 < slope < -0.7, (LANGUAGES[language], slope)
        assert 0.15 < sum(ranked[:10]) / sum(counts.values()) < 0.45


def digest(split_sizes: tuple[int, int, int] = (300, 30, 60), seed: int = 1) -> str:
    train, valid, test = split_sizes
    lines = [
        "\t".join((name, *texts(triple), triple.pattern, str(triple.unseen)))
        for name, split in phrasebook(seed, train, valid, test).items()
        for triple in split
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def test_the_same_in_another_process_with_other_hashes():
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_drawing as t; print(t.digest())"
    )
    digests = {digest()}
    for hash_seed in ("1", "77"):
        done = subprocess.run(
            [sys.executable, "-c", program, os.path.dirname(__file__)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        digests.add(done.stdout.strip())
    assert digests == {PINNED}


# Changes with the grammar; a change of it must be meant, for it changes every study made on it.
PINNED = "a9bba7067fac6038"


def test_the_package_ships_what_the_grammar_gives():
    shipped = lzma.decompress(make.FILE.read_bytes())
    assert hashlib.sha256(shipped).hexdigest() == hashlib.sha256(make.lines()).hexdigest(), (
        "type python tools/phrasebook/make.py"
    )


def test_seeds_differ_and_the_test_split_does_not_depend_on_the_size_of_train():
    assert digest(seed=1) != digest(seed=2)
    assert phrasebook(3, 50, 10, 40)["test"] == phrasebook(3, 500, 20, 40)["test"]


def test_more_than_there_is(monkeypatch):
    monkeypatch.setattr(grammar, "PATTERNS", grammar.PATTERNS[1:3])
    with pytest.raises(ValueError, match=r"the grammar gives about \d+"):
        phrasebook(train=5_000, valid=0, test=0)


def test_negative_sizes_are_refused():
    with pytest.raises(ValueError, match="train is -1"):
        phrasebook(train=-1)


@pytest.mark.parametrize(
    ("plain", "own"),
    [
        ("mou sestru", "svou sestru"),
        ("mého bratra", "svého bratra"),
        ("našeho souseda", "našeho souseda"),
    ],
)
def test_what_is_mine_is_reflexive_where_i_am_the_subject(plain, own):
    from grammar.shopping import _own

    assert _own(plain) == own
    made = phrasebook(train=2000, valid=50, test=50)["train"]
    sought = [t.czech for t in made if t.czech.startswith("Hledám")]
    assert sought
    assert not any(" pro mou " in text or " pro mého " in text for text in sought)
