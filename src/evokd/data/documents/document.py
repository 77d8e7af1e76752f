"""Documents in two phases: what a translator is given, and the document made of its answers.

document = read_document(text, "html", "en", size, 250)
written = document.written(translate(document.segments))
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from evokd.data.documents.forms import FORMS, Options, Unit, Write
from evokd.data.documents.masking import restored, variants
from evokd.data.documents.numbers import missing_numbers, numbers
from evokd.data.documents.pieces import (
    PIECE,
    Content,
    Piece,
    flatten,
    is_tag,
    partners,
    unflatten,
)
from evokd.data.documents.sentences import cut
from evokd.data.languages import language as language_of
from evokd.errors import InputError

_WITHOUT_SPACES = ("zh", "ja")
"""Languages whose sentences follow one another without a space."""


@dataclass(frozen=True)
class Lost:
    """What a translation lacks, or was given back in a place that is a guess.

    Attributes:
        segment: its place in `Document.segments`, from 0.
        line: of the file, from 1.
        kind: "tag", "placeholder", "number", or "text" where nothing came back.
        what: as it stands in the source.
    """

    segment: int
    line: int
    kind: str
    what: str


@dataclass(frozen=True)
class Written:
    """A translated document, and what got lost on the way."""

    text: str
    lost: list[Lost]


@dataclass(frozen=True)
class _Part:
    """What is translated at once, with the spaces and tags around it, which stay.

    Attributes:
        given: `masking.variants` of it, as far as they fit; none of what has no words.
        first: place of the first of them in the document's segments.
    """

    before: str
    flat: str
    behind: str
    given: list[str]
    first: int


@dataclass(frozen=True)
class _Text:
    """A unit, its pieces, and the parts that are its flat text when they are joined."""

    unit: Unit
    pieces: list[Piece]
    parts: list[_Part]

    def written(self, translations: Sequence[str], lost: list[Lost]) -> Content | None:
        """Its translation; None where all of it came back as it was."""
        flat, changed = [], False
        for part in self.parts:
            answers = translations[part.first : part.first + len(part.given)]
            middle = part.flat
            if part.flat and list(answers) != part.given:
                changed = True
                middle = self._restored(part, answers, lost)
            flat.append(part.before + middle + part.behind)
        return unflatten("".join(flat), self.pieces) if changed else None

    def _restored(self, part: _Part, answers: Sequence[str], lost: list[Lost]) -> str:
        made, missing = restored(part.flat, self.pieces, answers)

        def name(kind: str, what: str) -> None:
            lost.append(Lost(part.first, self.unit.line, kind, what))

        for piece in missing:
            name("placeholder" if piece.kind == "placeholder" else "tag", piece.text)
        source, translation = PIECE.sub(" ", part.flat), PIECE.sub(" ", made)
        for number in missing_numbers(source, translation):
            name("number", number)
        if source.strip() and not translation.strip():
            name("text", " ".join(source.split()))
        return made


@dataclass(frozen=True)
class Document:
    """A document on its way.

    Attributes:
        segments: what a translator is given, in order, each on one line; a blank one stays blank.
        has: how many tags, placeholders and numbers there are in them.
    """

    segments: list[str]
    has: dict[str, int]
    _texts: list[_Text]
    _write: Write

    def written(self, translations: Sequence[str]) -> Written:
        """The document with a translation for each segment, whatever those are."""
        if len(translations) != len(self.segments):
            raise ValueError(f"{len(translations)} translations of {len(self.segments)} segments")
        lost: list[Lost] = []
        contents = [text.written(translations, lost) for text in self._texts]
        return Written(self._write(contents), lost)


def read_document(
    text: str,
    form: str,
    language: str,
    size: Callable[[str], int],
    longest: int,
    **options: Any,
) -> Document:
    """Find what is to be translated in a document.

    Args:
        form: a key of `FORMS`.
        language: the one it is in.
        size: tokens of a text.
        longest: most tokens of a segment; a line that has more is cut into sentences, as are texts
            of formats that don't have a sentence a line.
        options: see `Options`.

    Raises:
        InputError: it isn't of that format, or has more tags in a text than can be told apart.
    """
    if form not in FORMS:
        raise InputError(f"format {form!r} is unknown; accepted are {', '.join(FORMS)}")
    given = Options(**options)
    module = import_module(f"evokd.data.documents.{FORMS[form]}")
    units, write = getattr(module, f"read_{form}")(text, given)

    def fits(text: str) -> bool:
        # No token is shorter than a byte.
        return len(text.encode(errors="replace")) <= longest or size(text) <= longest

    segments: list[str] = []
    has: Counter[str] = Counter()
    code = language_of(language).code
    spaced = [_is_spaced(code) for code in (language, given.target or language)]
    texts = []
    for unit in units:
        flat, pieces = flatten(unit.content)
        parts: list[_Part] = []
        for line in [flat] if unit.flowing else re.split(r"(\n)", flat):
            sentences = cut(line, pieces, code, fits, unit.is_line)
            for number, sentence in enumerate(sentences, start=1):
                part = _part_of(sentence, pieces, unit, fits, len(segments))
                if number < len(sentences) and spaced[0] != spaced[1]:
                    behind = part.behind.rstrip(" ") + " " * spaced[1]
                    part = replace(part, behind=behind)
                parts.append(part)
                segments += part.given
                if part.given:
                    has.update(_counted(part.flat, pieces))
        texts.append(_Text(unit, pieces, parts))
    return Document(segments, dict(has), texts, write)


def _part_of(
    flat: str, pieces: list[Piece], unit: Unit, fits: Callable[[str], bool], first: int
) -> _Part:
    """A part with what is at its edges set apart: spaces, and tags that are of all of it."""
    start, end = 0, len(flat)
    tags = [char for char in PIECE.findall(flat) if is_tag(char, pieces)]
    pairs = partners(tags, pieces)
    alone = set(tags) - {*pairs, *pairs.values()}
    while start < end:
        left, right = flat[start], flat[end - 1]
        if left.isspace() or left in alone:
            start += 1
        elif right.isspace() or right in alone:
            end -= 1
        elif pairs.get(left) == right:
            start, end = start + 1, end - 1
        else:
            break
    middle = flat[start:end]
    words = any(char.isalpha() for char in PIECE.sub("", middle))
    given = []
    if words or (unit.is_line and not PIECE.search(flat)):
        bare, *masked = variants(middle, pieces, unit.flowing)
        # Masks may make it too long, and what is cut off behind the last one would go unseen.
        given = [bare, *filter(fits, masked)]
    return _Part(flat[:start], middle, flat[end:], given, first)


def _counted(flat: str, pieces: list[Piece]) -> Counter[str]:
    found = Counter("tag" if is_tag(one, pieces) else "placeholder" for one in PIECE.findall(flat))
    found["number"] = numbers(PIECE.sub(" ", flat)).total()
    return found


def _is_spaced(code: str) -> bool:
    return language_of(code).code not in _WITHOUT_SPACES
