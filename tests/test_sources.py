"""Sources: their languages, formats and files; and the phrasebook, which is one."""

import gzip
import json

import pytest
import zstandard

from evokd.data.sources import (
    expected_pairs,
    input_files,
    read_source,
    source_format,
    stream_unpaired,
)
from evokd.errors import InputError
from evokd.recipe.corpus import CorpusSource, UnpairedSource
from small_study import write_moses
from source_files import BOTH, TMX, facts, fails, read, texts, write


def test_languages_and_directions_narrow_a_source(tmp_path):
    write(tmp_path / "t.en", "one\n")
    write(tmp_path / "t.de", "eins\n")
    study = ["en-de", "de-en", "en-cs"]
    fails(tmp_path, "t", "t.cs not found", "t.de", "languages: [", "directions:", directions=study)
    assert len(read(tmp_path, "t", study, languages=("deu", "eng"))) == 2
    one_way = CorpusSource(path="t", directions=("de-en",))
    assert facts(read_source(one_way, study, tmp_path)[0]) == [("de-en", "eins", "one", "t:1")]
    fails(tmp_path, "t", "don't serve", directions=study, languages=("en", "fr"))
    source = CorpusSource(path="t", languages=("en", "de"), directions=("en-de", "en-cs"))
    with pytest.raises(InputError, match="don't serve en-cs"):
        read_source(source, study, tmp_path)


def test_phrasebook(tmp_path):
    pairs = read(tmp_path, "phrasebook:train:5", ["en-de", "cs-en"])
    assert [pair.direction for pair in pairs] == ["en-de", "cs-en"] * 5
    assert pairs[0].source == pairs[1].target
    assert pairs[0].origin == "phrasebook:train#1"
    assert all(pair.source and pair.target for pair in pairs)
    assert len(read(tmp_path, "phrasebook:test:7")) == 7
    assert len(read(tmp_path, "phrasebook:train:5", ["en-de", "en-fr"])) == 5
    fails(tmp_path, "phrasebook:train:5", "not fr", directions=["en-fr"], languages=("en", "fr"))
    fails(tmp_path, "phrasebook:dev", "phrasebook:valid")
    fails(tmp_path, "phrasebook:test:1001", "1000 sentences")


def test_a_skip_beyond_the_end_is_told(tmp_path):
    write(tmp_path / "t.en", "one\ntwo\n")
    write(tmp_path / "t.de", "eins\nzwei\n")
    assert len(read(tmp_path, "t", BOTH, skip=1)) == 2
    said = "has 2 pairs, skip is 2: at most 1 can be skipped"
    fails(tmp_path, "t", f"t {said}", directions=BOTH, skip=2)
    fails(tmp_path, "t", f"t {said}", skip=2, languages=("en", "de"))
    for path, what in (("t.en", "2 lines"), ("phrasebook:train:2", "2 pairs")):
        source = UnpairedSource(path=path, direction="en-de", skip=3)
        with pytest.raises(InputError, match=f"{path} has {what}, skip is 3: at most 1"):
            list(stream_unpaired(source, tmp_path))


def test_format_by_name_and_by_content(tmp_path):
    write(tmp_path / "a", ' [{"en": "dog", "de": "Hund"}]')
    write(tmp_path / "b", TMX)
    write(tmp_path / "c", "dog\tHund\n")
    write(tmp_path / "d.JSONL", "{}")
    kinds = [
        source_format(CorpusSource(path=name), tmp_path) for name in ("a", "b", "c", "d.JSONL")
    ]
    assert kinds == ["json", "tmx", "tsv", "json"]
    assert source_format(CorpusSource(path="x", format="po"), tmp_path) == "po"
    assert texts(read(tmp_path, "c")) == [("dog", "Hund")]


def test_input_files(tmp_path):
    en = write(tmp_path / "t.en.gz", gzip.compress(b"one\n"))
    de = write(tmp_path / "t.de", "eins\n")
    table = write(tmp_path / "t.tsv", "one\teins\n")
    assert input_files(CorpusSource(path="t"), BOTH, tmp_path) == [en, de]
    assert input_files(CorpusSource(path="t.tsv"), BOTH, tmp_path) == [table]
    for name in ("phrasebook:train", "sacrebleu:wmt22", "hub:a/b:train"):
        assert input_files(CorpusSource(path=name), BOTH, tmp_path) == []
    with pytest.raises(InputError, match="not found"):
        input_files(CorpusSource(path="u.tsv"), BOTH, tmp_path)


# Shards


def numbered(start, count):
    return [(f"No. {n} in English.", f"Nr. {n} auf Deutsch.") for n in range(start, start + count)]


@pytest.fixture
def sharded(tmp_path):
    """train-0.jsonl.zst, …: 3, 4 and 5 pairs; plain-0.en and .de, … the same."""
    for number, count in enumerate((3, 4, 5)):
        rows = numbered(10 * number, count)
        text = "".join(json.dumps({"en": en, "de": de}) + "\n" for en, de in rows)
        (tmp_path / f"train-{number}.jsonl.zst").write_bytes(zstandard.compress(text.encode()))
        write_moses(tmp_path, f"plain-{number}", rows)
    (tmp_path / "plain-2.en").rename(tmp_path / "plain-2.eng")
    packed = gzip.compress((tmp_path / "plain-1.de").read_bytes())
    (tmp_path / "plain-1.de.gz").write_bytes(packed)
    (tmp_path / "plain-1.de").unlink()
    return tmp_path


ALL = numbered(0, 3) + numbered(10, 4) + numbered(20, 5)


@pytest.mark.parametrize(
    ("path", "form", "origins"),
    [
        ("train-*.jsonl.zst", "json", ["train-0.jsonl.zst:1", "train-2.jsonl.zst:5"]),
        ("train-?.jsonl*", "json", ["train-0.jsonl.zst:1", "train-2.jsonl.zst:5"]),
        ("plain-*", "moses", ["plain-0:1", "plain-2:5"]),
        ("plain-[0-9]", "moses", ["plain-0:1", "plain-2:5"]),
    ],
)
def test_shards_are_one_text_in_the_order_of_their_names(sharded, path, form, origins):
    source = CorpusSource(path=path)
    pairs, _ = read_source(source, ["en-de"], sharded)
    assert [(pair.source, pair.target) for pair in pairs] == ALL
    assert [pairs[0].origin, pairs[-1].origin] == origins
    assert source_format(source, sharded) == form
    files = input_files(source, ["en-de"], sharded)
    assert len(files) == (3 if form == "json" else 6)
    assert all(file.is_file() for file in files)
    some, _ = read_source(CorpusSource(path=path, skip=2, limit=7), ["en-de"], sharded)
    assert some == pairs[2:9]  # of all together
    assert expected_pairs(source, ["en-de", "de-en"], sharded) == 24
    assert expected_pairs(CorpusSource(path=path, limit=7), ["en-de"], sharded) == 7


def test_shards_of_text_without_translations(sharded):
    source = UnpairedSource(path="plain-?.[ed]*", direction="en-de", skip=1, limit=4)
    lines = list(stream_unpaired(source, sharded))
    assert [pair.origin for pair in lines[:3]] == ["plain-0.de:2", "plain-0.de:3", "plain-0.en:1"]
    assert len(lines) == 4


def test_a_pattern_of_nothing_and_a_name_with_a_star(sharded):
    with pytest.raises(InputError, match=r"trian-\*: no file is called so"):
        read_source(CorpusSource(path="trian-*"), ["en-de"], sharded)
    write_moses(sharded, "odd[1]", numbered(50, 2))
    pairs, _ = read_source(CorpusSource(path="odd[1]"), ["en-de"], sharded)
    assert len(pairs) == 2
    absolute, _ = read_source(CorpusSource(path=str(sharded / "plain-*")), ["en-de"], sharded)
    assert [(pair.source, pair.target) for pair in absolute] == ALL
