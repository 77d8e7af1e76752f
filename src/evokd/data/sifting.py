"""Training text on its way from the user's files to the run folder: judged by several processes,
sifted, and put into a file, whatever its size.

What stays in memory for each pair: 16 bytes of hash, by which duplicates are found, and 8 bytes
that say where its line is. All else that is needed to divide the text (`evokd.data.division`) lies
beside the lines.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from evokd.data.cleaning import (
    TOGETHER,
    CleaningReport,
    Judged,
    Sieve,
    judge,
    pair_key,
)
from evokd.data.contamination import HeldOut, side_keys
from evokd.data.pairs import Pair, StoredPairs, line_of
from evokd.data.seen import KEY, among, keys_of, sorted_keys
from evokd.data.workers import in_order
from evokd.recipe.corpus import CleaningSettings

COLUMNS = np.dtype(
    [
        ("end", np.int64),  # of its line
        ("direction", np.int32),  # its number among `SiftedPairs.directions`
        ("sentence", np.uint64),  # the same for neighbours that are directions of one sentence pair
        ("origin", np.uint64),
        ("source", KEY),  # `contamination.side_keys`
        ("target", KEY),
    ]
)
Row = tuple[str, str, str, str, str]
"""The fields of a pair."""


@dataclass
class Sifted:
    """What became of a chunk of pairs, those that may stay as the file will have them."""

    size: int
    odd: dict[int, Judged]
    """By their places in the chunk, pairs that something is to be said of."""
    places: np.ndarray
    """(n,), of those that may stay."""
    keys: np.ndarray
    """(n,), by which duplicates are known."""
    lines: list[bytes]
    directions: list[str]
    columns: np.ndarray
    """(n,) COLUMNS; `end` is the length of a line, `direction` counts among these `directions`."""


def sift(rows: Sequence[Row], settings: CleaningSettings, one_sided: bool) -> Sifted:
    """What can be done with some pairs without knowing any others."""
    judged = judge([Pair(*row) for row in rows], settings, one_sided)
    places = [place for place, one in enumerate(judged) if one.reason is None]
    pairs = [judged[place].pair for place in places]
    lines = [f"{line_of(pair)}\n".encode() for pair in pairs]
    numbers: dict[str, int] = {}
    columns = np.zeros(len(pairs), COLUMNS)
    columns["end"] = [len(line) for line in lines]
    columns["direction"] = [numbers.setdefault(pair.direction, len(numbers)) for pair in pairs]
    columns["sentence"] = [_number(*_sentence(pair)) for pair in pairs]
    columns["origin"] = [_number(pair.origin) for pair in pairs]
    sides = [side_keys(pair) for pair in pairs]
    for place, name in enumerate(("source", "target")):
        columns[name] = keys_of(both[place] for both in sides)
    odd = {place: one for place, one in enumerate(judged) if one.is_odd}
    keys = keys_of(map(pair_key, pairs))
    return Sifted(len(rows), odd, np.array(places, int), keys, lines, list(numbers), columns)


def _sentence(pair: Pair) -> Iterable[str]:
    languages = sorted((pair.source_language, pair.target_language))
    return pair.origin, *languages, *sorted((pair.source, pair.target))


def _number(*texts: str) -> int:
    content = "\0".join(texts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")


class SiftedPairs(StoredPairs):
    """Stored pairs, and what division needs to know of them.

    Attributes:
        directions: what the numbers in their column mean.
    """

    def __init__(
        self,
        file: BinaryIO,
        columns: Mapping[str, BinaryIO],
        directions: Sequence[str],
        rows: np.ndarray | None = None,
        ends: np.ndarray | None = None,
    ) -> None:
        ends = _read_column(columns, "end") if ends is None else ends
        super().__init__(file, ends, "the text", rows)
        self.directions = list(directions)
        self._columns = columns

    def take(self, rows: np.ndarray) -> SiftedPairs:
        return SiftedPairs(
            self._file, self._columns, self.directions, self._numbers(rows), self._ends
        )

    def column(self, name: str) -> np.ndarray:
        """(n,), one of COLUMNS."""
        values = _read_column(self._columns, name)
        return values if self.rows is None else values[self.rows]

    def counts(self) -> Counter[str]:
        """Pairs by direction."""
        numbers = np.bincount(self.column("direction"), minlength=len(self.directions))
        return Counter(dict(zip(self.directions, numbers.tolist(), strict=True)))

    def starts(self) -> np.ndarray:
        """Where each sentence pair begins: neighbours that are directions of the same two sentences
        belong together (`pairs.by_sentence`)."""
        sentence = self.column("sentence")
        return np.flatnonzero(np.append(True, sentence[1:] != sentence[:-1])[: len(sentence)])


def _read_column(columns: Mapping[str, BinaryIO], name: str) -> np.ndarray:
    columns[name].seek(0)
    return np.fromfile(columns[name], COLUMNS[name])


@dataclass
class Outcome:
    """What sifting left, and what it did."""

    pairs: SiftedPairs
    report: CleaningReport
    leaks: dict[str, int]
    """Pairs that have a sentence in common with each held-out set."""
    cleaned: Counter[str]
    """Pairs by direction before leaks were dropped."""


def sift_all(
    pairs: Iterable[Pair],
    settings: CleaningSettings,
    held_out: HeldOut,
    scratch: Path | None = None,
    translated: Iterable[Pair] | None = None,
    processes: int | None = None,
) -> Outcome:
    """Clean pairs and drop leaks, as `clean` and a look at each sentence would; order is kept.

    Args:
        scratch: the folder of the file that holds what is left; it has no name there, and is gone
            with the process.
        translated: see `clean`.
    """
    sieve = Sieve(settings, translated or ())
    leaked = CleaningReport()
    drops, among_held_out = settings.drop_test_leaks, _Leaks(held_out)
    cleaned: Counter[str] = Counter()
    store = _Store(scratch)
    work = partial(sift, settings=settings, one_sided=translated is not None)
    waiting: list[list[Row]] = []  # chunks that are being judged

    for result in in_order(work, _chunks(pairs, waiting), processes):
        rows = waiting.pop(0)
        plain = partial(_pair_in, rows)
        twice = sieve.duplicates(result.size, result.odd, result.places, result.keys, plain)
        stays = ~twice
        names = np.array(result.directions)[result.columns["direction"][stays]]
        cleaned.update(names.tolist())
        leaks = among_held_out.of(result.columns, stays)
        for number in np.flatnonzero(leaks).tolist() if drops else ():
            only_valid = leaks[number] == among_held_out.valid_bit
            place = int(result.places[number])
            one = result.odd.get(place)
            pair = plain(place) if one is None else one.pair
            leaked.drop("valid_leak" if only_valid else "test_leak", pair)
        store.add(result, stays & (leaks == 0) if drops else stays)
    sieve.report.reasons |= leaked.reasons
    return Outcome(store.finish(), sieve.report, among_held_out.counts, cleaned)


def _pair_in(rows: Sequence[Row], place: int) -> Pair:
    return Pair(*rows[place])


def _chunks(pairs: Iterable[Pair], waiting: list[list[Row]]) -> Iterator[list[Row]]:
    """Fields are sent, not objects, which take longer; and kept until the answer comes."""
    rest = iter(pairs)
    while chunk := [
        (p.source, p.target, p.source_language, p.target_language, p.origin)
        for p in islice(rest, TOGETHER)
    ]:
        waiting.append(chunk)
        yield chunk


class _Leaks:
    """Which held-out sets pairs share a sentence with, a bit for each set."""

    def __init__(self, held_out: HeldOut) -> None:
        self.counts = dict.fromkeys(held_out, 0)
        self._sets = {name: sorted_keys(sentences) for name, sentences in held_out.items()}
        self.valid_bit = 1 << list(held_out).index("valid") if "valid" in held_out else 0

    def of(self, columns: np.ndarray, stays: np.ndarray) -> np.ndarray:
        """(n,), for pairs that stay; they are counted."""
        found = np.zeros(len(columns), object if len(self._sets) > 62 else np.int64)
        for bit, (name, sentences) in enumerate(self._sets.items()):
            held = among(columns["source"], sentences) | among(columns["target"], sentences)
            held &= stays
            found[held] |= 1 << bit
            self.counts[name] += int(held.sum())
        return found


def _nameless(folder: Path | None) -> Any:
    """A file that is gone when nobody has it open, whatever ends this process."""
    return tempfile.TemporaryFile(dir=folder)


class _Store:
    """The file that lines go to, and those of their columns; none has a name."""

    def __init__(self, folder: Path | None) -> None:
        names = COLUMNS.names or ()
        self._lines, *files = (_nameless(folder) for _ in ("lines", *names))
        self._columns = dict(zip(names, files, strict=True))
        self._directions: dict[str, int] = {}
        self._end = 0

    def add(self, result: Sifted, stays: np.ndarray) -> None:
        kept = np.flatnonzero(stays)
        if not len(kept):
            return
        self._lines.writelines([result.lines[number] for number in kept.tolist()])
        columns = result.columns[kept]
        columns["end"] = self._end + np.cumsum(columns["end"])
        known = [self._directions.setdefault(d, len(self._directions)) for d in result.directions]
        columns["direction"] = np.array(known)[columns["direction"]]
        for name, file in self._columns.items():
            file.write(columns[name].tobytes())
        self._end = int(columns["end"][-1])

    def finish(self) -> SiftedPairs:
        for file in (self._lines, *self._columns.values()):
            file.flush()
        return SiftedPairs(self._lines, self._columns, list(self._directions))
