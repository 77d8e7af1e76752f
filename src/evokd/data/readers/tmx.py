"""Translation memories (TMX), read as a stream.

Expat itself is driven rather than an element tree: nothing but the current unit stands in memory,
each unit's line is known, and entity declarations are refused before they can grow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.parsers import expat

from evokd.data.source_request import SourceRequest, Unit, match_languages
from evokd.data.textfiles import one_line, open_bytes
from evokd.errors import InputError

# Inside these elements stands mark-up of the translated document, not its text.
_CODES = ("bpt", "ept", "it", "ph", "ut")
_CHUNK = 1 << 16  # bytes


def read_tmx(request: SourceRequest, notes: list[str]) -> Iterator[Unit]:
    """Units of a TMX file; those without two of the request's languages come with what they have.

    Newlines and tabs inside a segment become spaces, as mtdata does.

    Raises:
        InputError: broken XML or declared entities, with file and line.
    """
    memory = _Memory(request)
    with open_bytes(request.path) as file:
        chunk = b"."
        while chunk:
            chunk = file.read(_CHUNK)
            try:
                memory.parser.Parse(chunk, not chunk)
            except expat.ExpatError as error:
                raise InputError(
                    f"{request.path}:{error.lineno} is no valid XML: "
                    f"{expat.ErrorString(error.code)}"
                ) from None
            except (LookupError, ValueError) as error:  # of the encoding that its first line names
                raise InputError(
                    f"{request.path} is in an encoding that can't be read ({error}); convert it to "
                    "UTF-8, and say so in its first line"
                ) from None
            yield from memory.units
            memory.units.clear()


class _Memory:
    """The state of one pass: where in the file we are, and the units that are complete."""

    def __init__(self, request: SourceRequest) -> None:
        self.request = request
        self.units: list[Unit] = []
        self.texts: dict[str, str] = {}
        self.language: str | None = None
        self.line = 0
        self.segment: list[str] | None = None
        self.codes = 0  # depth of mark-up elements
        self.parser: Any = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.EntityDeclHandler = self._refuse_entity

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "tu":
            self.texts, self.line = {}, self.parser.CurrentLineNumber
        elif name == "tuv":
            self.language = attributes.get("xml:lang") or attributes.get("lang")
        elif name == "seg":
            self.segment, self.codes = [], 0
        elif name in _CODES:
            self.codes += 1

    def _end(self, name: str) -> None:
        if name == "seg" and self.segment is not None:
            if self.language:
                self.texts.setdefault(self.language, one_line("".join(self.segment)).strip())
            self.segment = None
        elif name == "tu":
            spellings = tuple(self.texts)
            variants = match_languages(self.request.languages, spellings, first=True)
            texts = {code: self.texts[spelling] for code, spelling in variants.items()}
            origin = f"{self.request.name}:{self.line}"
            self.units.append(Unit(texts, origin, spellings=spellings))
        elif name in _CODES:
            self.codes -= 1

    def _text(self, text: str) -> None:
        if self.segment is not None and not self.codes:
            self.segment.append(text)

    def _refuse_entity(self, name: str, *_: object) -> None:
        raise InputError(
            f"{self.request.path}:{self.parser.CurrentLineNumber} declares the XML entity "
            f"{name!r}; none are accepted, write the characters themselves"
        )
