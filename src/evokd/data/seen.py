"""What came before, by 128-bit hashes: 16 bytes for each of millions, in a table of numpy's.

That two of ten million different texts share a hash has a probability of 1.5e-25.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from typing import TypeVar

import numpy as np

KEY = "S16"
"""How numpy holds a hash."""
_CHUNK = 8192
_FULL = 0.7
"""Share of places taken at which a table doubles."""
T = TypeVar("T")


def digest(*texts: str) -> bytes:
    """The hash of some texts."""
    return blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def keys_of(digests: Iterable[bytes]) -> np.ndarray:
    """(n,) hashes."""
    return np.frombuffer(b"".join(digests), KEY)


class Seen:
    """A set of hashes: open addressing, a chunk of keys at a time."""

    def __init__(self) -> None:
        self._table = np.zeros((1 << 10, 2), np.uint64)  # zeros: nobody's place
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @classmethod
    def of(cls, digests: Iterable[bytes]) -> Seen:
        """A set of these."""
        made = cls()
        for chunk in chunks_of(digests):
            made.add(keys_of(chunk))
        return made

    def add(self, keys: np.ndarray) -> np.ndarray:
        """Add hashes, (n,); which of them weren't there, neither before nor earlier in `keys`."""
        is_new = np.zeros(len(keys), bool)
        _, first = np.unique(keys, return_index=True)
        first.sort()
        while self._size + len(first) > _FULL * len(self._table):
            old = self._table[self._table.any(1)]
            self._table = np.zeros((2 * len(self._table), 2), np.uint64)
            for start in range(0, len(old), _CHUNK):
                self._insert(old[start : start + _CHUNK])
        words = _words(keys[first])
        is_new[first] = self._insert(words)
        self._size += int(is_new.sum())
        return is_new

    def has(self, keys: np.ndarray) -> np.ndarray:
        """Which of some hashes, (n,), are there."""
        words = _words(keys)
        mask, is_there = np.uint64(len(self._table) - 1), np.zeros(len(words), bool)
        left, places = np.arange(len(words)), words[:, 0] & mask
        while len(left):
            found = self._table[places]
            is_it = (found == words[left]).all(1)
            is_there[left[is_it]] = True
            goes_on = found.any(1) & ~is_it
            left, places = left[goes_on], (places[goes_on] + np.uint64(1)) & mask
        return is_there

    def _insert(self, words: np.ndarray) -> np.ndarray:
        """Put different hashes, (n, 2), into the table; which of them weren't there."""
        table, mask = self._table, np.uint64(len(self._table) - 1)
        is_new = np.zeros(len(words), bool)
        left, places = np.arange(len(words)), words[:, 0] & mask
        while len(left):
            found = table[places]
            is_free = ~found.any(1)
            # Of several that want one free place the last gets it; the others look again.
            table[places[is_free]] = words[left[is_free]]
            there = (table[places] == words[left]).all(1)
            is_new[left[is_free & there]] = True
            left, places = left[~there], places[~there]
            # A place that is another's: on to the next one.
            places = (places + np.uint64(1)) & mask
        return is_new


def _words(keys: np.ndarray) -> np.ndarray:
    """(n, 2), hashes as two numbers each, the one of zeros as ones: zeros are nobody's."""
    words = np.array(keys, KEY).view(np.uint64).reshape(-1, 2)
    words[~words.any(1)] = 1
    return words


def chunks_of(items: Iterable[T]) -> Iterator[list[T]]:
    """As many at a time as numpy is good at."""
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def first_of_each(items: Iterable[T], key: Callable[[T], bytes]) -> Iterator[tuple[int, T]]:
    """Place and item of those whose key comes for the first time."""
    seen, start = Seen(), 0
    for chunk in chunks_of(items):
        for place in np.flatnonzero(seen.add(keys_of(map(key, chunk)))).tolist():
            yield start + place, chunk[place]
        start += len(chunk)


def among(keys: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of some hashes are among others, which are sorted."""
    if not len(others):
        return np.zeros(len(keys), bool)
    places = np.searchsorted(others, keys).clip(max=len(others) - 1)
    return np.asarray(others[places] == keys)


def sorted_keys(digests: Sequence[bytes] | set[bytes]) -> np.ndarray:
    """Hashes as `among` looks for them."""
    return np.unique(keys_of(digests))
