"""One reader per file format that people bring; each yields units in the file's order.

A reader gets the file, what is wanted from it, and a list for notes to the user; it names file and
line in every error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from evokd.data.language_request import (
    SOURCE_KEYS,
    TARGET_KEYS,
    Unit,
    Wanted,
    match_languages,
    record_unit,
)
from evokd.data.languages import same_language
from evokd.data.textfiles import COMPRESSIONS, one_line, open_bytes, read_lines, read_text
from evokd.errors import InputError

# What may follow a Moses prefix: en, eng, eng_Latn, en-US, zh_Hans_CN.
_SUFFIX = re.compile(r"[A-Za-z]{2,3}([_-]([A-Z][a-z]{3}|[A-Z]{2}|\d{3}))*")


def moses_files(prefix: Path, wanted: Wanted) -> dict[str, Path]:
    """{language: file} of the wanted languages of a Moses prefix.

    Raises:
        InputError: a file that isn't there, or two that mean the same language.
    """
    found = _files_by_suffix(prefix)
    matches = match_languages(wanted.languages, tuple(found))
    missing = [code for code in wanted.languages if code not in matches]
    if missing:
        looked_for = ", ".join(f"{prefix}.{code}" for code in missing)
        there = ", ".join(str(path) for path in found.values()) or "nothing of that prefix"
        hint = ""
        if not wanted.explicit and len(found) >= 2:
            hint = (
                "; if it needn't hold that language, say what it holds: "
                f"languages: [{', '.join(list(found)[:2])}] or directions: [..]"
            )
        raise InputError(f"{looked_for} not found; found: {there}{hint}")
    return {code: found[spelling] for code, spelling in matches.items()}


def _files_by_suffix(prefix: Path) -> dict[str, Path]:
    """{suffix as spelled: file}; a plain file hides its compressed copies."""
    found: dict[str, Path] = {}
    if prefix.parent.is_dir():
        for path in sorted(prefix.parent.iterdir()):
            if not path.name.startswith(prefix.name + ".") or not path.is_file():
                continue
            suffix = path.name[len(prefix.name) + 1 :]
            for compression in COMPRESSIONS:
                suffix = suffix.removesuffix(compression)
            if _SUFFIX.fullmatch(suffix):
                found.setdefault(suffix, path)
    return found


def read_moses(prefix: Path, wanted: Wanted, notes: list[str]) -> Iterator[Unit]:
    """Aligned plain-text files, one per language: `train.en` + `train.de`."""
    files = moses_files(prefix, wanted)
    lines = {code: read_lines(path) for code, path in files.items()}
    (first, first_lines), *others = lines.items()
    for code, other in others:
        if len(other) != len(first_lines):
            raise InputError(
                f"{files[first]} has {len(first_lines)} lines, {files[code]} has {len(other)}; "
                "line n of one must translate line n of the other"
            )
    codes = tuple(lines)
    for number, texts in enumerate(zip(*lines.values(), strict=True), start=1):
        yield Unit(dict(zip(codes, texts, strict=True)), f"{wanted.name}:{number}")


def read_tsv(path: Path, wanted: Wanted, notes: list[str]) -> Iterator[Unit]:
    """Tab-separated text, with or without a header; more columns are ignored, quotes are text."""
    lines = read_lines(path)
    header = lines[0].split("\t")
    if _is_header(header, wanted):
        yield from _headered(path, header, lines, wanted)
        return
    numbers = _column_numbers(wanted.columns or ("1", "2"), header, path)
    codes = wanted.column_languages("no header that names languages")
    needed = max(numbers)
    for number, line in enumerate(lines, start=1):
        cells = line.split("\t") if line else [""] * needed
        if len(cells) < needed:
            raise InputError(
                f"{path}:{number} has {len(cells)} column(s); {needed} are needed, parted by tabs"
            )
        texts = {c: cells[n - 1] for c, n in zip(codes, numbers, strict=True)}
        yield Unit(texts, f"{wanted.name}:{number}")


def _headered(path: Path, header: list[str], lines: list[str], wanted: Wanted) -> Iterator[Unit]:
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t") if line else [""] * len(header)
        record = dict(zip(header, cells, strict=False))
        try:
            yield record_unit(record, wanted, f"{path}:{number}", f"{wanted.name}:{number}")
        except InputError:
            if len(cells) < len(header):
                raise InputError(
                    f"{path}:{number} has {len(cells)} column(s); the header has {len(header)}: "
                    f"{', '.join(header)}"
                ) from None
            raise


def _is_header(cells: list[str], wanted: Wanted) -> bool:
    if wanted.columns is not None:
        return all(column in cells for column in wanted.columns)
    if len(match_languages(wanted.languages, tuple(cells))) >= 2:
        return True
    return any(k in cells for k in SOURCE_KEYS) and any(k in cells for k in TARGET_KEYS)


def _column_numbers(columns: tuple[str, str], first_line: list[str], path: Path) -> list[int]:
    if all(column.isdecimal() and int(column) >= 1 for column in columns):
        return [int(column) for column in columns]
    missing = [column for column in columns if column not in first_line]
    raise InputError(
        f"{path}:1 has no column {missing[0]!r}; found: {', '.join(first_line)}; two names from "
        "the first line or two numbers counted from 1 are accepted"
    )


def read_json(path: Path, wanted: Wanted, notes: list[str]) -> Iterator[Unit]:
    """A JSON array of objects, or one object a line; the content decides, not the name."""
    text = read_text(path)
    if text.lstrip()[:1] == "[":
        for number, record in enumerate(_json_array(path, text), start=1):
            where = f"{path}, element {number},"
            yield record_unit(record, wanted, where, f"{wanted.name}#{number}")
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{path}:{number} is no JSON ({error}); one object a line or one array is "
                    "accepted"
                ) from None
            yield record_unit(record, wanted, f"{path}:{number}", f"{wanted.name}:{number}")


def _json_array(path: Path, text: str) -> list[object]:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno} is no JSON: {error}") from None
    except RecursionError:
        raise InputError(f"{path} is nested too deeply; an array of objects is accepted") from None


def read_po(path: Path, wanted: Wanted, notes: list[str]) -> Iterator[Unit]:
    """A gettext catalogue: finished, singular messages; the msgid is in the first language."""
    import polib

    first, second = wanted.column_languages("messages (msgid) and translations (msgstr)")
    open_bytes(path).close()
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
    skipped = 0
    for entry in catalogue:
        if entry.obsolete or entry.fuzzy or entry.msgid_plural or not entry.msgstr:
            skipped += 1
            continue
        texts = {first: one_line(entry.msgid), second: one_line(entry.msgstr)}
        yield Unit(texts, f"{wanted.name}:{entry.linenum}")
    if skipped:
        notes.append(
            f"{wanted.name}: {skipped} fuzzy, obsolete, plural or untranslated messages skipped"
        )
