"""What is told of a source while its pairs go by: how many there are, and whether its two sides go
together."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from math import log, sqrt
from pathlib import Path
from typing import Any

from evokd.data.pairs import Pair
from evokd.data.sources import source_format
from evokd.recipe.corpus import CorpusSource

# Lines that belong together have lengths that go together; r of real text is 0.7 and more.
_LEAST_CORRELATION = 0.2
_CORRELATION_NEEDS = 100  # sentence pairs


class SourceLook:
    """Facts of a source.

    Attributes:
        directions: pairs of each.
    """

    def __init__(self) -> None:
        self.directions: Counter[str] = Counter()
        self._first: Pair | None = None
        self._lengths = _Correlation()

    def at(self, groups: Iterable[Sequence[Pair]]) -> Iterator[Pair]:
        """The pairs of some sentences, which are looked at."""
        for pairs in groups:
            for pair in pairs:
                self._first = self._first or pair
                self.directions[pair.direction] += 1
                if pair.source and pair.target:
                    self._lengths.add(len(pair.source), len(pair.target))
                yield pair

    def row(self, part: str, source: CorpusSource, root: Path) -> dict[str, Any]:
        """For corpus/cleaning.json, when all went by."""
        assert self._first is not None
        return {
            "part": part,
            "path": source.path,
            "format": source_format(source, root),
            "pairs": self.directions.total(),
            "directions": dict(self.directions),
            "length_correlation": self._lengths.r(),
            "first": {"source": self._first.source, "target": self._first.target},
        }

    def notes(self, source: CorpusSource) -> list[str]:
        """What the user should know."""
        r = self._lengths.r()
        if r is None or r >= _LEAST_CORRELATION:
            return []
        return [
            f"{source.path}: the lengths of its two sides hardly go together (r = {r:.2f}); check "
            "that line n of one side translates line n of the other"
        ]


class _Correlation:
    """Pearson's r of the two sides' lengths in characters, on a logarithmic scale, so that a few
    very long lines don't count for all: near zero where lines don't match."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[int, int]] = Counter()

    def add(self, one: int, other: int) -> None:
        self._counts[one, other] += 1

    def r(self) -> float | None:
        """None of few, or of lengths that are all equal."""
        count = self._counts.total()
        if count < _CORRELATION_NEEDS:
            return None
        points = [(log(one), log(other), n) for (one, other), n in self._counts.items()]
        mean_x = sum(n * x for x, _, n in points) / count
        mean_y = sum(n * y for _, y, n in points) / count
        xx = sum(n * (x - mean_x) ** 2 for x, _, n in points)
        yy = sum(n * (y - mean_y) ** 2 for _, y, n in points)
        xy = sum(n * (x - mean_x) * (y - mean_y) for x, y, n in points)
        if len({x for x, _, _ in points}) == 1 or len({y for _, y, _ in points}) == 1:
            return None
        return round(xy / sqrt(xx * yy), 3)


def consume(stream: Iterable[Any]) -> None:
    """All of a stream, for what is seen on the way."""
    deque(stream, maxlen=0)
