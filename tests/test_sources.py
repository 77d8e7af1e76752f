"""Sources: their languages, formats and files; and the phrasebook, which is one."""

import gzip

import pytest

from evokd.data.sources import input_files, read_source, read_unpaired, source_format
from evokd.errors import InputError
from evokd.recipe.corpus import CorpusSource, UnpairedSource
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
            read_unpaired(source, tmp_path)


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
