"""Translation memories (TMX), read as a stream.

Expat itself is driven rather than an element tree: nothing but the current unit stands in memory,
each unit's line is known, and entity declarations are refused before they can grow.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.parsers import expat

from evokd.data.language_request import Unit, Wanted
from evokd.data.languages import same_language
from evokd.data.textfiles import PACKING_ERRORS, one_line, open_bytes
from evokd.errors import InputError

# Inside these elements stands mark-up of the translated document, not its text.
_CODES = ("bpt", "ept", "it", "ph", "ut")
_CHUNK = 1 << 16  # bytes


def read_tmx(path: Path, wanted: Wanted, notes: list[str]) -> Iterator[Unit]:
    """Units of a TMX file; those without two wanted languages come with what they have.

    Newlines and tabs inside a segment become spaces, as mtdata does.

    Raises:
        InputError: broken XML or declared entities, with file and line.
    """
    memory = _Memory(path, wanted)
    with open_bytes(path) as file:
        while True:
            try:
                chunk = file.read(_CHUNK)
                memory.parser.Parse(chunk, not chunk)
            except expat.ExpatError as error:
                message = expat.ErrorString(error.code)
                raise InputError(f"{path}:{error.lineno} is no valid XML: {message}") from None
            except PACKING_ERRORS as error:
                raise InputError(f"{path} can't be unpacked: {error}") from None
            yield from memory.finished()
            if not chunk:
                return


class _Memory:
    """The state of one pass: where in the file we are, and the units that are complete."""

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self.path, self.wanted = path, wanted
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

    def finished(self) -> list[Unit]:
        """The units completed since the last call."""
        units, self.units = self.units, []
        return units

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
            found = _first_variants(self.wanted.languages, tuple(self.texts))
            texts = {code: self.texts[spelling] for code, spelling in found.items()}
            origin = f"{self.wanted.name}:{self.line}"
            self.units.append(Unit(texts, origin, spellings=tuple(self.texts)))
        elif name in _CODES:
            self.codes -= 1

    def _text(self, text: str) -> None:
        if self.segment is not None and not self.codes:
            self.segment.append(text)

    def _refuse_entity(self, name: str, *_: object) -> None:
        raise InputError(
            f"{self.path}:{self.parser.CurrentLineNumber} declares the XML entity {name!r}; "
            "none are accepted, write the characters themselves"
        )


@lru_cache(maxsize=4096)
def _first_variants(codes: tuple[str, ...], spellings: tuple[str, ...]) -> dict[str, str]:
    """{wanted code: spelling}; of several variants (en-US, en-GB) the exact or else the first."""
    found = {}
    for code in codes:
        variants = [s for s in spellings if same_language(s, code)]
        if variants:
            found[code] = code if code in variants else variants[0]
    return found
