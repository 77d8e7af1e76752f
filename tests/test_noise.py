"""Targets made wrong on purpose: what changes, what is recorded, and who never sees the record."""

import pytest

from evokd.data import noise
from evokd.data.corpus import NOISE, build_corpus, save_corpus
from evokd.data.noise import add_noise, read_record
from evokd.data.pairs import Pair
from evokd.errors import InputError
from evokd.recipe.corpus import NOISES, OF_WORDS, CorpusSettings, NoiseSettings
from evokd.recipe.file import check_recipe
from small_study import both_ways, recipe, sentences

PAIRS = both_ways(200)
BY_NAME = {(pair.origin, pair.direction): pair for pair in PAIRS}


def add(*kinds, **options):
    return add_noise(PAIRS, [NoiseSettings(kind=k, share=s, **options) for k, s in kinds])


def test_the_table_and_the_functions_have_the_same_kinds():
    assert NOISES.keys() == noise.NOISES.keys()
    assert NOISES.keys() > OF_WORDS


@pytest.mark.parametrize("kind", NOISES)
def test_what_is_not_in_the_record_is_as_it_was(kind):
    noisy, record = add((kind, 0.3))
    wrong = {(one.origin, one.direction): one for one in record}
    assert len(noisy) == len(PAIRS)
    for pair, before in zip(noisy, PAIRS, strict=True):
        assert pair.source == before.source
        own = wrong.get((pair.origin, pair.direction))
        if own is None:
            assert pair == before
            continue
        assert own.kind == kind
        assert all(0 <= i <= len(pair.target.split()) for i in own.words)
    assert noisy != PAIRS


@pytest.mark.parametrize("kind", ["misaligned", "wrong_language", "copied"])
def test_a_share_of_the_pairs_of_each_direction_is_wrong_from_end_to_end(kind):
    noisy, record = add((kind, 0.25))
    assert [sum(one.direction == d for one in record) for d in ("en-de", "de-en")] == [50, 50]
    targets = {(pair.origin, pair.direction): pair.target.split() for pair in noisy}
    for one in record:
        assert one.words == tuple(range(len(targets[one.origin, one.direction]) + 1))


def test_misaligned_targets_are_those_of_others_each_once():
    noisy, record = add(("misaligned", 1.0))
    assert len(record) == len(PAIRS)
    for direction in ("en-de", "de-en"):
        before = [pair.target for pair in PAIRS if pair.direction == direction]
        after = [pair.target for pair in noisy if pair.direction == direction]
        assert sorted(before) == sorted(after)
        assert not any(one == other for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("kind", ["replaced_words", "swapped_words"])
def test_only_recorded_words_differ(kind):
    noisy, record = add((kind, 0.2))
    wrong = {(one.origin, one.direction): set(one.words) for one in record}
    words = changed = 0
    for pair, before in zip(noisy, PAIRS, strict=True):
        own, old = pair.target.split(), before.target.split()
        differ = {i for i, (a, b) in enumerate(zip(own, old, strict=True)) if a != b}
        assert differ == wrong.get((pair.origin, pair.direction), set())
        words += len(own)
        changed += len(differ)
    assert 0.15 < changed / words < 0.25


def test_dropped_words_are_missing_where_the_record_says():
    noisy, record = add(("dropped_words", 0.2))
    texts = {(pair.origin, pair.direction): pair.target.split() for pair in noisy}
    for one in record:
        before = BY_NAME[one.origin, one.direction].target.split()
        rest, i = list(texts[one.origin, one.direction]), 0
        gaps = set()
        for word in before:
            if i < len(rest) and rest[i] == word:
                i += 1
            else:
                gaps.add(i)
        assert i == len(rest)
        assert len(gaps) <= len(one.words)


def test_truncated_targets_end_too_early():
    noisy, record = add(("truncated", 0.5))
    texts = {(pair.origin, pair.direction): pair.target for pair in noisy}
    for one in record:
        text = texts[one.origin, one.direction]
        assert BY_NAME[one.origin, one.direction].target.startswith(text + " ")
        assert one.words == (len(text.split()),)


def test_word_by_word_finds_the_dictionary_of_the_corpus():
    words = [("red", "rot"), ("blue", "blau"), ("cat", "katze"), ("dog", "hund")]
    pairs = [
        Pair(f"{a} {c}", f"{d} {b}", "en", "de", f"t:{i}")
        for i, ((a, b), (c, d)) in enumerate((one, two) for one in words[:2] for two in words[2:])
    ]
    noisy, record = add_noise(pairs, [NoiseSettings(kind="word_by_word", share=1)])
    assert noisy[0].target == "rot katze"
    assert record == [] or all(one.words == () for one in record)  # its words are the right ones


def test_kinds_do_not_meet_and_seeds_differ():
    noisy, record = add(("misaligned", 0.3), ("copied", 0.3))
    assert len(record) == len({(one.origin, one.direction) for one in record}) == 240
    assert add(("misaligned", 0.3), ("copied", 0.3)) == (noisy, record)
    assert add(("misaligned", 0.3), seed=2)[1] != add(("misaligned", 0.3))[1]


def test_a_corpus_keeps_the_record_beside_its_text(tmp_path):
    for code, side in (("en", 0), ("de", 1)):
        text = "".join(pair[side] + "\n" for pair in sentences(120))
        (tmp_path / f"train.{code}").write_text(text)
    settings = CorpusSettings(
        root=str(tmp_path),
        train=[{"path": "train", "noise": {"kind": "misaligned", "share": 0.5}}],
        valid=[{"path": "train", "limit": 1}],
        test=[{"name": "t", "path": "train"}],
        cleaning={"drop_test_leaks": False},
    )
    corpus = build_corpus(settings, ["en-de"], 1)
    assert corpus.report["sources"][-1]["noise"] == {"misaligned": 60}
    save_corpus(corpus, tmp_path / "corpus")
    kept = read_record(tmp_path / "corpus" / NOISE)
    assert kept == corpus.noise
    record = {(one.origin, one.direction): one for one in kept}
    assert len(record) == 60
    right = dict(sentences(120))
    for pair in corpus.train:
        assert (pair.target == right[pair.source]) == ((pair.origin, "en-de") not in record)
    assert "misaligned" not in (tmp_path / "corpus/train.jsonl").read_text()


@pytest.mark.parametrize("part", ["valid", "test"])
def test_only_training_text_takes_noise(part):
    source = {"path": "x", "noise": {"kind": "copied", "share": 0.1}, "name": "t"}
    if part == "valid":
        del source["name"]
    tree = recipe()
    tree["corpus"][part] = [source]
    with pytest.raises(InputError, match=rf"corpus\.{part}\..\.noise: unknown key"):
        check_recipe(tree)


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"misaligned": 0.7, "truncated": 0.7}, "noise: shares of pairs sum to 1.4; at most 1 is"),
        ({"misaligned": 0.7, "dropped_words": 0.7}, None),
        ({"misaligned": 0.1, "copied": 0.2, "truncated": 0.7}, None),  # 1 and a rounding error
    ],
)
def test_shares_of_pairs_are_of_one_whole(shares, said):
    tree = recipe()
    noise = [{"kind": kind, "share": share} for kind, share in shares.items()]
    tree["corpus"]["train"] = [{"path": "x", "noise": noise}]
    if said is None:
        assert len(check_recipe(tree).corpus.train[0].noise) == len(shares)
    else:
        with pytest.raises(InputError, match=said):
            check_recipe(tree)


def test_a_kind_that_is_unknown_is_named():
    tree = recipe()
    tree["corpus"]["train"] = [{"path": "x", "noise": [{"kind": "misalign", "share": 0.1}]}]
    with pytest.raises(InputError, match="unknown kind 'misalign'; did you mean 'misaligned'"):
        check_recipe(tree)
