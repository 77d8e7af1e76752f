"""What a study asks of a source, and how its languages are found there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from evokd.data.languages import same_language, split_direction
from evokd.data.textfiles import path_in
from evokd.errors import InputError
from evokd.recipe.corpus import CorpusSource

Direction = tuple[str, str]


class Unit(NamedTuple):
    """A sentence in two or more languages: {the study's code: text}.

    `direction` is set where the text serves that direction alone (WMT test sets).
    """

    texts: dict[str, str]
    origin: str
    direction: Direction | None = None
    spellings: tuple[str, ...] = ()
    """The languages as the file spells them, for messages about a unit that lacks some."""


@dataclass(frozen=True)
class SourceRequest:
    """What a reader gets: where to read, and which languages, in the study's own spelling."""

    name: str
    """The source's path as the recipe has it, for messages and origins."""
    root: Path
    """The folder that relative paths start from."""
    directions: tuple[Direction, ...]
    """Both directions of two languages stand side by side."""
    order: Direction | None
    """The languages of the first and second column, if known."""
    columns: tuple[str, str] | None
    explicit: bool
    """Whether the recipe names this source's languages or directions."""

    @property
    def path(self) -> Path:
        return path_in(self.root, self.name)

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """All languages of the directions, in order of appearance."""
        return tuple(dict.fromkeys(code for d in self.directions for code in d))

    def column_languages(self, instead: str) -> Direction:
        """The languages of the two columns; `instead` says what the file has in place of codes.

        Raises:
            InputError: the recipe doesn't tell.
        """
        if self.order is None:
            raise InputError(
                f"{self.name} has {instead}, and the study has several directions; say which "
                f"language is which: languages: [{', '.join(self.directions[0])}]"
            )
        return self.order


def request_for(source: CorpusSource, directions: Sequence[str], root: Path) -> SourceRequest:
    """What a study of these directions asks of a source.

    Raises:
        InputError: a direction that is none, or languages that serve no direction.
    """
    pairs = [split_direction(d) for d in source.directions or directions]
    order: Direction | None = pairs[0] if len(pairs) == 1 else None
    if source.languages is not None:
        first, second = source.languages
        served = [p for p in pairs if _same_pair(p, (first, second))]
        if not served or (source.directions and len(served) < len(pairs)):
            raise InputError(
                f"{source.path}: languages [{first}, {second}] don't serve "
                f"{', '.join('-'.join(p) for p in pairs if p not in served)}; name the two "
                "languages of its directions"
            )
        pairs = served
        a, b = pairs[0]
        order = (a, b) if same_language(a, first) else (b, a)
    # Stable: directions of the same two languages move to the first one's place.
    grouped = sorted(pairs, key=lambda p: [_same_pair(p, q) for q in pairs].index(True))
    explicit = source.languages is not None or source.directions is not None
    return SourceRequest(source.path, root, tuple(grouped), order, source.columns, explicit)


def _same_pair(a: Direction, b: Direction) -> bool:
    return all(any(same_language(one, other) for other in b) for one in a)


@lru_cache(maxsize=4096)
def match_languages(
    codes: tuple[str, ...], spellings: tuple[str, ...], first: bool = False
) -> dict[str, str]:
    """For each of the study's codes the spelling in a file that means the same language.

    An exact spelling wins; `eng_Latn` stands for `en` where it is the only one that does.

    Args:
        first: of several variants (en-US, en-GB) take the first one.

    Raises:
        InputError: two spellings fit equally well.
    """
    matches = {}
    for code in codes:
        near = [code] if code in spellings else [s for s in spellings if same_language(s, code)]
        if len(near) > 1 and not first:
            raise InputError(
                f"{' and '.join(near)} both mean {code}; spell the study's language like one of "
                "them, or say columns: [.., ..]"
            )
        if near:
            matches[code] = near[0]
    return matches
