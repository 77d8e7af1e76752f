"""A sentence and its translation, and the file that keeps such pairs in a run folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from pathlib import Path

from evokd.data.textfiles import read_lines
from evokd.errors import InputError
from evokd.rundir.files import write_lines


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


def by_sentence(pairs: Iterable[Pair]) -> list[list[Pair]]:
    """Neighbours that are directions of the same two sentences, together."""

    def sentence(pair: Pair) -> tuple[str, frozenset[str], frozenset[str]]:
        languages = frozenset((pair.source_language, pair.target_language))
        return pair.origin, languages, frozenset((pair.source, pair.target))

    return [list(group) for _, group in groupby(pairs, key=sentence)]


# Written as escapes, so that readers which split on every Unicode line end see one line a pair.
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "\x85\u2028\u2029"}


def write_pairs(path: str | Path, pairs: Sequence[Pair]) -> None:
    """Write pairs as JSON lines, one a line whatever their text holds; all of the file or none."""
    lines = (json.dumps(asdict(pair), ensure_ascii=False).translate(_ESCAPES) for pair in pairs)
    write_lines(Path(path), lines)


def read_pairs(path: str | Path) -> list[Pair]:
    """Read what `write_pairs` wrote.

    Raises:
        InputError: a missing file or a line that holds no pair.
    """
    pairs = []
    for number, line in enumerate(read_lines(Path(path), may_be_empty=True), start=1):
        try:
            pairs.append(Pair(**json.loads(line)))
        except (TypeError, ValueError) as error:
            names = ", ".join(field.name for field in fields(Pair))
            raise InputError(
                f"{path}:{number} is no pair ({error}); keys {names} are accepted"
            ) from None
    return pairs
