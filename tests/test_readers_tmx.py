"""Translation memories."""

import gzip

import pytest

from evokd.data.sources import read_source
from evokd.recipe.corpus import CorpusSource
from source_files import BOTH, TMX, facts, fails, read, texts, write


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_tmx(tmp_path, encoding):
    write(tmp_path / "t.tmx", TMX.replace("UTF-8", encoding).encode(encoding))
    pairs, notes = read_source(CorpusSource(path="t.tmx"), BOTH, tmp_path)
    assert facts(pairs)[::2] == [
        ("en-de", "A <dog> &  more", "Ein Hund!", "t.tmx:4"),
        ("en-de", "cat", "Katze", "t.tmx:7"),
    ]
    assert texts(pairs)[1] == ("Ein Hund!", "A <dog> &  more")
    assert notes == [
        "t.tmx: 1 unit(s) without two of en, de left out; the first, t.tmx:9, has fr, en"
    ]


def test_tmx_packed_and_longer_than_a_chunk(tmp_path):
    unit = (
        '<tu><tuv xml:lang="en"><seg>dog {0}</seg></tuv>'
        '<tuv xml:lang="de"><seg>Hund {0}</seg></tuv></tu>\n'
    )
    text = "<tmx><body>" + "".join(unit.format(i) for i in range(3000)) + "</body></tmx>"
    write(tmp_path / "t.tmx.gz", gzip.compress(text.encode()))
    pairs = read(tmp_path, "t.tmx.gz")
    assert texts(pairs) == [(f"dog {i}", f"Hund {i}") for i in range(3000)]
    assert pairs[-1].origin == "t.tmx.gz:3000"


def test_tmx_errors(tmp_path):
    write(tmp_path / "t.tmx", TMX.replace("</tu>", "</to>", 1))
    fails(tmp_path, "t.tmx", "t.tmx:6 is no valid XML")
    bomb = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    write(tmp_path / "t.tmx", f'<!DOCTYPE t [<!ENTITY a0 "ha">{bomb}]><tmx>&a11;</tmx>')
    fails(tmp_path, "t.tmx", "t.tmx:1 declares the XML entity 'a0'")
    write(tmp_path / "t.tmx", TMX)
    fails(tmp_path, "t.tmx", "no sentence pair for cs-is", "3 unit(s)", directions=["cs-is"])


@pytest.mark.parametrize("encoding", ["hex", "idna", "utf-7", "none-such"])
def test_a_tmx_in_an_encoding_that_nobody_reads(tmp_path, encoding):
    write(tmp_path / "t.tmx", TMX.replace("UTF-8", encoding))
    fails(tmp_path, "t.tmx", "t.tmx")
