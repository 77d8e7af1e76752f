"""A sentence and its translation, and the file that keeps such pairs in a run folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from json.encoder import encode_basestring
from pathlib import Path
from typing import BinaryIO, overload

import numpy as np

from evokd.data.seen import digest, first_of_each
from evokd.errors import InputError
from evokd.rundir.files import write_lines

_BLOCK = 1024
"""Lines that are read from a file at once."""


@dataclass(frozen=True)
class Pair:
    """One sentence, its translation, and where they come from.

    `origin` is `file:line` (`file#number` where lines mean nothing, `hub:…#number` for data sets);
    the two directions of one sentence share it.
    """

    source: str
    target: str
    source_language: str
    target_language: str
    origin: str

    @property
    def direction(self) -> str:
        """`en-de`, as the study spells it."""
        return f"{self.source_language}-{self.target_language}"


_KEYS = tuple(field.name for field in fields(Pair))


def by_sentence(pairs: Iterable[Pair]) -> list[list[Pair]]:
    """Neighbours that are directions of the same two sentences, together."""

    def sentence(pair: Pair) -> tuple[str, frozenset[str], frozenset[str]]:
        languages = frozenset((pair.source_language, pair.target_language))
        return pair.origin, languages, frozenset((pair.source, pair.target))

    return [list(group) for _, group in groupby(pairs, key=sentence)]


# Written as escapes, so that readers which split on every Unicode line end see one line a pair.
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "\x85\u2028\u2029"}


def line_of(pair: Pair) -> str:
    """A pair as JSON on one line, whatever its text holds."""
    texts = pair.source, pair.target, pair.source_language, pair.target_language, pair.origin
    body = ", ".join([f'"{k}": {encode_basestring(t)}' for k, t in zip(_KEYS, texts, strict=True)])
    return f"{{{body}}}" if body.isprintable() else f"{{{body.translate(_ESCAPES)}}}"


def write_pairs(path: str | Path, pairs: Iterable[Pair]) -> None:
    """Write pairs as JSON lines, all of the file or none."""
    lines = pairs.lines() if isinstance(pairs, StoredPairs) else map(line_of, pairs)
    write_lines(Path(path), lines)


def read_pairs(path: str | Path) -> list[Pair]:
    """Read what `write_pairs` wrote.

    Raises:
        InputError: a missing file or a line that holds no pair.
    """
    return list(StoredPairs.of_file(Path(path)))


class StoredPairs(Sequence[Pair]):
    """Pairs that lie in a file, one a line: 8 bytes of memory each, whatever their length.

    The file is read, not mapped, so a walk through it takes no more memory than a block of lines.

    Attributes:
        rows: (n,), the number in the file of each pair; None: all of them, in order.
    """

    def __init__(
        self, file: BinaryIO, ends: np.ndarray, name: str, rows: np.ndarray | None = None
    ) -> None:
        self._file, self._ends, self._name = file, ends, name
        self.rows = rows

    @classmethod
    def of_file(cls, path: Path) -> StoredPairs:
        """Those of a whole file."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            raise InputError(f"{path} not found") from None
        return cls(file, _line_ends(file), str(path))

    def take(self, rows: np.ndarray) -> StoredPairs:
        """The pairs of these places, in this order; a place may come more than once."""
        return StoredPairs(self._file, self._ends, self._name, self._numbers(rows))

    def _numbers(self, places: np.ndarray) -> np.ndarray:
        return places if self.rows is None else self.rows[places]

    def __len__(self) -> int:
        return len(self._ends if self.rows is None else self.rows)

    @overload
    def __getitem__(self, place: int) -> Pair: ...
    @overload
    def __getitem__(self, place: slice) -> list[Pair]: ...
    def __getitem__(self, place: int | slice) -> Pair | list[Pair]:
        if isinstance(place, slice):
            return list(self.take(np.arange(len(self))[place]))
        return next(iter(self.take(np.array([range(len(self))[place]]))))

    def __iter__(self) -> Iterator[Pair]:
        for numbers in self._blocks():
            lines = self._read(numbers)
            try:  # all at once, which is sooner done
                yield from [Pair(**tree) for tree in json.loads(b"[%b]" % b",".join(lines))]
            except (TypeError, ValueError):
                for number, line in zip(numbers.tolist(), lines, strict=True):
                    yield self._parsed(line, number)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def lines(self) -> Iterator[str]:
        """As they stand in the file."""
        for numbers in self._blocks():
            for line in self._read(numbers):
                yield line.decode()

    def _blocks(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self), _BLOCK):
            yield self._numbers(np.arange(start, min(start + _BLOCK, len(self))))

    def _read(self, numbers: np.ndarray) -> list[bytes]:
        """Some lines; in one go where they lie together."""
        ends = self._ends[numbers]
        starts = np.where(numbers > 0, self._ends[numbers - 1], 0)
        handle, first, last = self._file.fileno(), int(starts.min()), int(ends.max())
        spans = zip(starts.tolist(), ends.tolist(), strict=True)
        if last - first > 4 * int((ends - starts).sum()):
            return [os.pread(handle, end - start, start).rstrip(b"\n") for start, end in spans]
        block = os.pread(handle, last - first, first)
        return [block[start - first : end - first].rstrip(b"\n") for start, end in spans]

    def _parsed(self, line: bytes, number: int) -> Pair:
        try:
            return Pair(**json.loads(line))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{self._name}:{number + 1} is no pair ({error}); keys {', '.join(_KEYS)} are "
                "accepted"
            ) from None


def take(pairs: Sequence[Pair], rows: np.ndarray) -> Sequence[Pair]:
    """The pairs of these places; of stored ones without reading them."""
    if isinstance(pairs, StoredPairs):
        return pairs.take(rows)
    return [pairs[row] for row in rows.tolist()]


def different_texts(pairs: Iterable[Pair]) -> Iterator[str]:
    """Both sides of all pairs, each text once, as they first come."""
    texts = (text for pair in pairs for text in (pair.source, pair.target))
    return (text for _, text in first_of_each(texts, digest))


def _line_ends(file: BinaryIO) -> np.ndarray:
    """(n,) int64, where each line of a file ends, behind its newline."""
    size, found, offset = os.fstat(file.fileno()).st_size, [], 0
    while offset < size:
        block = os.pread(file.fileno(), 1 << 20, offset)
        found.append(np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + offset + 1)
        offset += len(block)
    ends = np.concatenate([np.zeros(0, np.int64), *found])
    return ends if size in (0, *ends[-1:]) else np.append(ends, size)
