"""Text of a line each: plain, in a column between tabs, in JSON objects."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from evokd.data.documents.forms import Options, Reading, Unit
from evokd.data.documents.pieces import Content, Piece, with_tags
from evokd.errors import InputError

_DECODER = json.JSONDecoder()
_BLANK = re.compile(r"[ \t\r\n]*")


def read_text(text: str, options: Options) -> Reading:
    """A sentence or paragraph a line; every line end stays."""
    lines = text.split("\n")
    ended = lines[-1] == ""
    units = [
        Unit(with_tags(line), number, is_line=True)
        for number, line in enumerate(lines[: len(lines) - ended], start=options.line)
    ]

    def write(contents: Sequence[Content | None]) -> str:
        made = [
            old if new is None else joined(new) for old, new in zip(lines, contents, strict=False)
        ]
        return "\n".join([*made, *[""] * ended])

    return units, write


def read_tsv(text: str, options: Options) -> Reading:
    """One column of tab-separated text, whose translation takes its place. Quotes are text.

    Raises:
        InputError: a line without that column.
    """
    rows = [line.split("\t") for line in text.split("\n")]
    place, units = options.column - 1, []
    for number, row in enumerate(rows, start=1):
        if row in ([""], ["\r"]):
            continue
        if len(row) <= place:
            raise InputError(
                f"{options.name}:{number} has {len(row)} column(s), parted by tabs; --column "
                f"{options.column} was asked for"
            )
        units.append(Unit(with_tags(row[place]), number, is_line=True))

    def write(contents: Sequence[Content | None]) -> str:
        for unit, new in zip(units, contents, strict=True):
            if new is not None:
                rows[unit.line - 1][place] = joined(new).replace("\t", " ")
        return "\n".join("\t".join(row) for row in rows)

    return units, write


def read_jsonl(text: str, options: Options) -> Reading:
    """The value of one key of an object a line; all else of the line stays as it is written.

    Raises:
        InputError: a line that is no object, hasn't the key, or has something else than text there.
    """
    lines = text.split("\n")
    units, spans = [], []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            value, span = _value_of(line, options.key, f"{options.name}:{number}")
            units.append(Unit(with_tags(value), number))
            spans.append(span)

    def write(contents: Sequence[Content | None]) -> str:
        made = list(lines)
        for unit, (start, end), new in zip(units, spans, contents, strict=True):
            if new is not None:
                line = lines[unit.line - 1]
                value = json.dumps(joined(new), ensure_ascii=False)
                made[unit.line - 1] = line[:start] + value + line[end:]
        return "\n".join(made)

    return units, write


def joined(content: Content) -> str:
    """A content as one text, tags as they stood in the file."""
    return "".join(item.text if isinstance(item, Piece) else item for item in content)


def _value_of(line: str, key: str, where: str) -> tuple[str, tuple[int, int]]:
    """The text under a key, and where it begins and ends in the line."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is no JSON ({error}); an object a line is accepted") from None
    if not isinstance(record, dict):
        raise InputError(f"{where} is a {type(record).__name__}; an object is accepted")
    if not isinstance(record.get(key), str):
        there = ", ".join(name for name, value in record.items() if isinstance(value, str))
        raise InputError(
            f"{where} has no text under {key!r}; texts are under: {there or 'nothing'}; name one "
            "with --key"
        )
    # The last one counts where a key is there twice, as for whoever reads it.
    span, place = (0, 0), line.index("{") + 1
    while line[place := _after_blanks(line, place)] != "}":
        place += line[place] == ","
        name, place = _DECODER.raw_decode(line, _after_blanks(line, place))
        start = _after_blanks(line, line.index(":", place) + 1)
        _, place = _DECODER.raw_decode(line, start)
        span = (start, place) if name == key else span
    return record[key], span


def _after_blanks(line: str, place: int) -> int:
    found = _BLANK.match(line, place)
    return found.end() if found else place
