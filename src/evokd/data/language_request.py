"""Which languages a study wants from a source, and how to find them there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from evokd.data.languages import is_language, same_language, split_direction
from evokd.data.textfiles import one_line
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
class Wanted:
    """What is asked of a source, in the study's own spelling of languages."""

    name: str
    """The source's path as the recipe has it, for messages and origins."""
    directions: tuple[Direction, ...]
    """Both directions of two languages stand side by side."""
    order: tuple[str, str] | None
    """The languages of the first and second column, if known."""
    columns: tuple[str, str] | None
    explicit: bool
    """Whether the recipe names this source's languages or directions."""

    @property
    def languages(self) -> tuple[str, ...]:
        """All languages of the directions, in order of appearance."""
        return tuple(dict.fromkeys(code for d in self.directions for code in d))

    def column_languages(self, found: str) -> tuple[str, str]:
        """The languages of the two columns; `found` says what the file has instead of codes.

        Raises:
            InputError: the recipe doesn't tell.
        """
        if self.order is None:
            raise InputError(
                f"{self.name} has {found}, and the study has several directions; say which "
                f"language is which: languages: [{', '.join(self.directions[0])}]"
            )
        return self.order


def wanted_from(source: CorpusSource, directions: Sequence[str]) -> Wanted:
    """What a study of these directions wants from a source.

    Raises:
        InputError: a direction that is none, or languages that serve no direction.
    """
    pairs = [split_direction(d) for d in source.directions or directions]
    order: tuple[str, str] | None = pairs[0] if len(pairs) == 1 else None
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
    places = [next(i for i, q in enumerate(pairs) if _same_pair(p, q)) for p in pairs]
    grouped = [p for _, p in sorted(zip(places, pairs, strict=True), key=lambda item: item[0])]
    explicit = source.languages is not None or source.directions is not None
    return Wanted(source.path, tuple(grouped), order, source.columns, explicit)


def _same_pair(a: tuple[str, str], b: tuple[str, str]) -> bool:
    straight = same_language(a[0], b[0]) and same_language(a[1], b[1])
    return straight or (same_language(a[0], b[1]) and same_language(a[1], b[0]))


@lru_cache(maxsize=4096)
def match_languages(codes: tuple[str, ...], spellings: tuple[str, ...]) -> dict[str, str]:
    """For each wanted code the spelling among those found that means the same language.

    An exact spelling wins; `eng_Latn` stands for `en` where it is the only one that does.

    Raises:
        InputError: two spellings fit equally well.
    """
    matches = {}
    for code in codes:
        if code in spellings:
            matches[code] = code
            continue
        near = [s for s in spellings if is_language(s) and same_language(s, code)]
        if len(near) > 1:
            raise InputError(
                f"{' and '.join(near)} both mean {code}; spell the study's language like one of "
                "them, or say columns: [.., ..]"
            )
        if near:
            matches[code] = near[0]
    return matches


# Spellings seen in tower-eval, MetricX, COMET and OPUS. A reference comes before a system's output.
SOURCE_KEYS = ("src", "source")
TARGET_KEYS = ("ref", "reference", "tgt", "trg", "target", "mt")


def record_unit(record: object, wanted: Wanted, where: str, origin: str) -> Unit:
    """One JSON object, TSV line with a header, or row of a data set.

    In this order: the recipe's `columns`, a `translation` dict, keys that are languages, keys such
    as `src` and `ref`. Languages that the record doesn't hold are left out.

    Args:
        where: file and line, for messages.

    Raises:
        InputError: missing columns, text that is no text, or no way to tell the languages.
    """
    if not isinstance(record, Mapping):
        raise InputError(f"{where} is {_kind(record)}; an object with text by language is accepted")
    translation = record.get("translation")
    if isinstance(translation, Mapping):
        record = translation
    if wanted.columns is not None:
        codes = _languages_of_columns(wanted.columns, wanted)
        texts = {
            code: _text(record, column, where)
            for code, column in zip(codes, wanted.columns, strict=True)
        }
        return Unit(texts, origin)
    keys = tuple(str(key) for key in record)
    found = match_languages(wanted.languages, keys)
    if len(found) < 2 and record is not translation:
        source = next((key for key in SOURCE_KEYS if key in record), None)
        target = next((key for key in TARGET_KEYS if key in record), None)
        if source and target:
            first, second = wanted.column_languages(f"keys {source!r} and {target!r}")
            found = {first: source, second: target}
    # A translation dict may be in other languages than its neighbours; flat keys are all alike.
    if len(found) < 2 and record is not translation:
        raise InputError(
            f"{where} has {', '.join(keys) or 'nothing'}; two of {', '.join(wanted.languages)} are "
            "wanted, or src and ref; else name the two with columns: [.., ..]"
        )
    texts = {code: _text(record, key, where) for code, key in found.items()}
    return Unit(texts, origin, spellings=keys)


def _languages_of_columns(columns: tuple[str, str], wanted: Wanted) -> tuple[str, str]:
    named = {v: k for k, v in match_languages(wanted.languages, columns).items()}
    if len(named) == 2:
        return named[columns[0]], named[columns[1]]
    return wanted.column_languages(f"columns {columns[0]!r} and {columns[1]!r}")


def _text(record: Mapping[str, object], key: str, where: str) -> str:
    if key not in record:
        raise InputError(f"{where} has no {key!r}; found: {', '.join(map(str, record))}")
    value = record[key]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"{where}: {key!r} is {_kind(value)}; text is accepted")
    return one_line(value)


def _kind(value: object) -> str:
    return "null" if value is None else f"a {type(value).__name__}"
