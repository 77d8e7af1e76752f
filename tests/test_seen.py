"""Hashes of what came before, against Python's own sets."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from evokd.data.seen import Seen, among, digest, first_of_each, keys_of, sorted_keys

# Few different ones, of which some want the same place in the table.
KEYS = st.integers(0, 40).map(lambda n: bytes([n % 3, 0] * 4) + bytes([n // 3] * 8))


@settings(deadline=None)
@given(st.lists(st.lists(KEYS, max_size=30), max_size=8))
def test_what_is_new_is_what_no_set_has(chunks):
    seen, known = Seen(), set()
    for chunk in chunks:
        keys = keys_of(chunk)
        assert seen.has(keys).tolist() == [key in known for key in chunk]
        new = [key not in known and key not in chunk[:place] for place, key in enumerate(chunk)]
        assert seen.add(keys).tolist() == new
        known.update(chunk)
        assert len(seen) == len(known)
        assert seen.has(keys).all()


def test_a_table_grows():
    texts = [str(number % 30_000) for number in range(50_000)]
    firsts = list(first_of_each(texts, digest))
    assert firsts == [(number, str(number)) for number in range(30_000)]
    seen = Seen.of(map(digest, texts))
    assert len(seen) == 30_000
    assert seen.has(keys_of(map(digest, texts))).all()
    assert not seen.has(keys_of(digest(f"x{text}") for text in texts)).any()


def test_texts_are_told_apart_by_their_borders():
    assert len({digest("a", "b"), digest("ab"), digest("a", "", "b"), digest("b", "a")}) == 4


@settings(deadline=None)
@given(st.lists(KEYS), st.sets(KEYS))
def test_among(keys, others):
    assert among(keys_of(keys), sorted_keys(others)).tolist() == [key in others for key in keys]
    assert among(np.zeros(2, "S16"), sorted_keys(set())).tolist() == [False, False]
