"""How much text a plan counts, against what is read."""

import gzip
import lzma

import pytest
import zstandard

from evokd.data.sources import read_source
from evokd.plan.text import text_of
from evokd.recipe.file import check_recipe
from small_study import recipe


def test_text_is_counted_from_the_files_at_hand(tmp_path, monkeypatch):
    """Lines are counted, of a file beyond a MiB by the length of its first ones."""
    lines = 300
    for code in ("en", "de"):
        (tmp_path / f"t.{code}").write_text("x" * 69 + "\n" + ("y" * 69 + "\n") * (lines - 1))
    asked = recipe(corpus={**recipe()["corpus"], "train": str(tmp_path / "t")})
    found = text_of(check_recipe(asked, [], origin="test"))
    assert found.train.pairs == 2 * lines, "in both directions"
    assert found.train.responses == pytest.approx(70 / 3.5)
    with gzip.open(tmp_path / "u.tsv.gz", "wt") as file:
        file.write("a sentence\tein Satz\n" * 50)
    asked["corpus"]["train"] = [
        {"path": str(tmp_path / "u.tsv.gz"), "use": "models"},
        {"path": str(tmp_path / "t"), "use": "students", "limit": 100, "skip": 10},
    ]
    found = text_of(check_recipe(asked, [], origin="test"))
    assert (found.models.pairs, found.train.pairs) == (100, 200)
    monkeypatch.setattr("evokd.plan.text.SAMPLE", 700)
    assert text_of(check_recipe(asked, [], origin="test")).train.pairs == 200
    asked["corpus"]["train"] = str(tmp_path / "nothing")
    assert text_of(check_recipe(asked, [], origin="test")).train is None


def test_text_is_counted_as_it_is_read(tmp_path, monkeypatch):
    """Whatever files it is in: against what `read_source` yields of them."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for number in range(4):  # shards of a Moses text
        for code in ("en", "de"):
            (tmp_path / f"part-{number}.{code}").write_text(("x" * 34 + "\n") * 25)
    rows = b"twelve bytes\tzwoelf Bytes\n" * 60
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(rows))
    (tmp_path / "a.tsv.xz").write_bytes(lzma.compress(rows))
    (tmp_path / "a.tsv.zst").write_bytes(zstandard.compress(rows))
    names = ("part-*", "a.tsv.gz", "a.tsv.xz", "a.tsv.zst", "phrasebook:valid")
    for path, width in zip(names, (35, 13, 13, 13, 45), strict=True):
        for more in ({}, {"directions": ["de-en"]}):
            source = {"path": path, "languages": ["eng", "deu"], **more}
            asked = recipe(corpus={**recipe()["corpus"], "train": [source], "root": "~"})
            made = check_recipe(asked, [], origin="test")
            found = text_of(made)
            read, _ = read_source(made.corpus.train[0], made.directions, tmp_path)
            assert found.train.pairs == len(read) > 0, (path, more)
            assert found.train.responses == pytest.approx(width / 3.5)
    asked["corpus"]["train"] = [{"path": "part-*"}, {"path": "part-*", "directions": ["en-de"]}]
    for limit, pairs in ((80, 120), (1000, 300)):  # 2 directions of every second sentence
        asked["corpus"]["limit"] = limit
        assert text_of(check_recipe(asked, [], origin="test")).train.pairs == pairs
    (tmp_path / "b.tsv.gz").write_bytes(gzip.compress(rows)[:-20])
    (tmp_path / "c.tsv.zst").write_bytes(rows)
    for path in ("b.tsv.gz", "c.tsv.zst", "phrasebook:train:abc", "phrasebook:valid:501"):
        asked["corpus"]["train"] = path
        assert text_of(check_recipe(asked, [], origin="test")).train is None
