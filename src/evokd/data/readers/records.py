"""Records: JSON objects, TSV lines with a header, rows of a data set."""

from __future__ import annotations

from collections.abc import Mapping

from evokd.data.source_request import Direction, SourceRequest, Unit, match_languages
from evokd.data.textfiles import one_line
from evokd.errors import InputError

# Spellings seen in tower-eval, MetricX, COMET and OPUS. A reference comes before a system's output.
SOURCE_KEYS = ("src", "source")
TARGET_KEYS = ("ref", "reference", "tgt", "trg", "target", "mt")


def record_unit(record: object, request: SourceRequest, where: str, origin: str) -> Unit:
    """One record as a unit.

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
    spellings: tuple[str, ...] = ()
    if request.columns is not None:
        keys = dict(zip(_column_languages(request.columns, request), request.columns, strict=True))
    else:
        spellings = tuple(str(key) for key in record)
        keys = match_languages(request.languages, spellings)
        # A translation dict may be in other languages than its neighbours; flat keys are all alike.
        if len(keys) < 2 and record is not translation:
            keys = _source_and_target(record, request, where)
    texts = {code: _text(record, key, where) for code, key in keys.items()}
    return Unit(texts, origin, spellings=spellings)


def is_header(cells: list[str], request: SourceRequest) -> bool:
    """Whether the first line of a table names its columns."""
    if request.columns is not None:
        return all(column in cells for column in request.columns)
    if len(match_languages(request.languages, tuple(cells))) >= 2:
        return True
    return any(k in cells for k in SOURCE_KEYS) and any(k in cells for k in TARGET_KEYS)


def _source_and_target(
    record: Mapping[str, object], request: SourceRequest, where: str
) -> dict[str, str]:
    """{language: key} of a record whose keys say which side is the source."""
    source = next((key for key in SOURCE_KEYS if key in record), None)
    target = next((key for key in TARGET_KEYS if key in record), None)
    if not (source and target):
        raise InputError(
            f"{where} has {', '.join(map(str, record)) or 'nothing'}; two of "
            f"{', '.join(request.languages)} are wanted, or src and ref; else name the two with "
            "columns: [.., ..]"
        )
    first, second = request.column_languages(f"keys {source!r} and {target!r}")
    return {first: source, second: target}


def _column_languages(columns: tuple[str, str], request: SourceRequest) -> Direction:
    by_column = {v: k for k, v in match_languages(request.languages, columns).items()}
    if len(by_column) == 2:
        return by_column[columns[0]], by_column[columns[1]]
    return request.column_languages(f"columns {columns[0]!r} and {columns[1]!r}")


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
