"""Files that people bring: aligned text, tab-separated text, JSON and gettext catalogues."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from evokd.data.languages import same_language
from evokd.data.readers.records import is_header, record_unit
from evokd.data.source_request import SourceRequest, Unit, match_languages
from evokd.data.textfiles import (
    COMPRESSIONS,
    count_lines,
    one_line,
    open_bytes,
    read_text,
    stream_lines,
)
from evokd.errors import InputError

# What may follow a Moses prefix: en, eng, eng_Latn, en-US, zh_Hans_CN.
_SUFFIX = re.compile(r"[A-Za-z]{2,3}([_-]([A-Z][a-z]{3}|[A-Z]{2}|\d{3}))*")


def moses_files(request: SourceRequest) -> dict[str, Path]:
    """{language: file} of a Moses prefix, for each language of the request.

    Raises:
        InputError: a file that isn't there, or two that mean the same language.
    """
    files = _files_by_suffix(request.path)
    matches = match_languages(request.languages, tuple(files))
    missing = [code for code in request.languages if code not in matches]
    if missing:
        looked_for = ", ".join(f"{request.path}.{code}" for code in missing)
        there = ", ".join(str(path) for path in files.values()) or "nothing of that prefix"
        hint = ""
        if not request.explicit and len(files) >= 2:
            hint = (
                "; if it needn't hold that language, say what it holds: "
                f"languages: [{', '.join(list(files)[:2])}] or directions: [..]"
            )
        raise InputError(f"{looked_for} not found; found: {there}{hint}")
    return {code: files[spelling] for code, spelling in matches.items()}


def _files_by_suffix(prefix: Path) -> dict[str, Path]:
    """{suffix as spelled: file}; a plain file hides its compressed copies."""
    files: dict[str, Path] = {}
    for path in sorted(prefix.parent.glob("*")):
        if path.name.startswith(prefix.name + ".") and path.is_file():
            suffix = path.name[len(prefix.name) + 1 :]
            for compression in COMPRESSIONS:
                suffix = suffix.removesuffix(compression)
            if _SUFFIX.fullmatch(suffix):
                files.setdefault(suffix, path)
    return files


def read_moses(request: SourceRequest, notes: list[str]) -> Iterator[Unit]:
    """Aligned plain-text files, one per language: `train.en` + `train.de`."""
    files = moses_files(request)
    counts = {code: count_lines(path) for code, path in files.items()}
    first, *others = files
    for code in others:
        if counts[code] != counts[first]:
            raise InputError(
                f"{files[first]} has {counts[first]} lines, {files[code]} has {counts[code]}; "
                "line n of one must translate line n of the other"
            )
    lines = map(stream_lines, files.values())
    for number, texts in enumerate(zip(*lines, strict=True), start=1):
        yield Unit(dict(zip(files, texts, strict=True)), f"{request.name}:{number}")


def read_tsv(request: SourceRequest, notes: list[str]) -> Iterator[Unit]:
    """Tab-separated text, with or without a header; more columns are ignored, quotes are text."""
    path = request.path
    header = next(stream_lines(path)).split("\t")
    has_header = is_header(header, request)
    if not has_header:
        columns = request.columns or ("1", "2")
        if not all(re.fullmatch("[1-9][0-9]*", column) for column in columns):
            missing = next(column for column in columns if column not in header)
            raise InputError(
                f"{path}:1 has no column {missing!r}; found: {', '.join(header)}; two names from "
                "the first line or two numbers counted from 1 are accepted"
            )
        request.column_languages("no header that names languages")
        request = replace(request, columns=columns)
        header = [str(number) for number in range(1, max(map(int, columns)) + 1)]
    for number, line in enumerate(stream_lines(path), start=1):
        if number == 1 and has_header:
            continue
        cells = line.split("\t") if line else [""] * len(header)
        where = f"{path}:{number}"
        try:
            record = dict(zip(header, cells, strict=False))
            yield record_unit(record, request, where, f"{request.name}:{number}")
        except InputError:
            if len(cells) < len(header):
                needed = f"{len(header)} are needed, parted by tabs"
                if has_header:
                    needed = f"the header has {len(header)}: {', '.join(header)}"
                raise InputError(f"{where} has {len(cells)} column(s); {needed}") from None
            raise


def read_json(request: SourceRequest, notes: list[str]) -> Iterator[Unit]:
    """A JSON array of objects, or one object a line; the content decides, not the name."""
    path, name = request.path, request.name
    with open_bytes(path) as file:
        start = file.read(4096).lstrip(b"\xef\xbb\xbf \r\n\t")
    # UTF-16 is read in one piece anyway.
    is_array = start[:1] == b"[" or (start[:1] in (b"\xff", b"\xfe") and _is_array(path))
    pieces = [read_text(path)] if is_array else stream_lines(path)
    for number, piece in enumerate(pieces, start=1):
        if not piece.strip():
            continue
        try:
            content = json.loads(piece)
        except (ValueError, RecursionError) as error:
            line = number + getattr(error, "lineno", 1) - 1
            raise InputError(
                f"{path}:{line} is no JSON ({error}); one object a line or one array is accepted"
            ) from None
        if not is_array:
            yield record_unit(content, request, f"{path}:{number}", f"{name}:{number}")
            continue
        for place, record in enumerate(content, start=1):
            yield record_unit(record, request, f"{path}, element {place},", f"{name}#{place}")


def _is_array(path: Path) -> bool:
    return read_text(path).lstrip()[:1] == "["


def read_po(request: SourceRequest, notes: list[str]) -> Iterator[Unit]:
    """A gettext catalogue: finished, singular messages; the msgid is in the first language."""
    import polib

    path = request.path
    first, second = request.column_languages("messages (msgid) and translations (msgstr)")
    with open_bytes(path):
        pass  # or polib would take a missing file for a catalogue
    try:
        catalogue = polib.pofile(str(path))
    except (OSError, ValueError, LookupError) as error:
        raise InputError(f"{path} is no gettext catalogue: {error}") from None
    declared = catalogue.metadata.get("Language", "").strip()
    if declared and not same_language(declared, second):
        raise InputError(
            f"{path} says that it translates into {declared}, not {second}; languages: is "
            "[language of the msgid, language of the msgstr]"
        )
    entries = [entry for entry in catalogue.translated_entries() if not entry.msgid_plural]
    for entry in entries:
        texts = {first: one_line(entry.msgid), second: one_line(entry.msgstr)}
        yield Unit(texts, f"{request.name}:{entry.linenum}")
    if skipped := len(catalogue) - len(entries):
        notes.append(
            f"{request.name}: {skipped} fuzzy, obsolete, plural or untranslated messages skipped"
        )
