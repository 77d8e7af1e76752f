"""The pair file: whatever a sentence holds, it survives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evokd.data.pairs import Pair, read_pairs, write_pairs
from evokd.errors import InputError

PAIRS = st.builds(Pair, st.text(), st.text(), st.just("en"), st.just("de"), st.text())


@settings(max_examples=50)
@given(st.lists(PAIRS))
def test_pairs_survive_the_file(tmp_path_factory, pairs):
    path = tmp_path_factory.mktemp("pairs") / "new" / "train.jsonl"
    write_pairs(path, pairs)
    assert read_pairs(path) == pairs
    assert len(path.read_text(encoding="utf-8").splitlines()) == len(pairs)
    assert [p.name for p in path.parent.iterdir()] == ["train.jsonl"]


def test_every_line_end_survives_the_file(tmp_path):
    pair = Pair("".join(map(chr, range(0x300))), "\u2028\u2029\ufeff", "en", "de", "f:1")
    write_pairs(tmp_path / "p", [pair, pair])
    assert read_pairs(tmp_path / "p") == [pair, pair]
    assert len((tmp_path / "p").read_text(encoding="utf-8").splitlines()) == 2


def test_damaged_pair_file(tmp_path):
    for text in ('{"source": "a"}', "nonsense", "[]"):
        (tmp_path / "p").write_text(text + "\n")
        with pytest.raises(InputError, match="p:1 is no"):
            read_pairs(tmp_path / "p")
