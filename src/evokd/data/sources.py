"""One source of a recipe → pairs, whatever its format."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evokd.data.pairs import Pair
from evokd.data.readers.files import moses_files
from evokd.data.source_request import request_for
from evokd.data.textfiles import COMPRESSIONS, open_bytes, path_in, read_lines
from evokd.errors import InputError
from evokd.recipe.corpus import CorpusSource, UnpairedSource
from evokd.recipe.formats import AUTO, FORMATS
from evokd.recipe.validation import explain


def read_source(
    source: CorpusSource, directions: Sequence[str], root: Path
) -> tuple[list[Pair], list[str]]:
    """All pairs of a source, one for each of the study's directions that it serves, and notes for
    the user.

    The directions of one sentence are neighbours and share their origin. Nothing is cleaned; empty
    lines are pairs with empty text.

    Args:
        directions: the study's, `en-de`; a source's own `directions` narrow them.
        root: the folder that relative paths start from.

    Raises:
        InputError: whatever is wrong with the source, with file and line.
    """
    request = request_for(source, directions, root)
    _refuse_pipe(request.path)
    read = FORMATS[source_format(source, root)].load_reader()
    notes: list[str] = []
    pairs: list[Pair] = []
    taken: Counter[object] = Counter()  # units by direction, where they serve one alone
    unmatched, first_unmatched = 0, None
    for unit in read(request, notes):
        own = [
            Pair(unit.texts[code], unit.texts[target_code], code, target_code, unit.origin)
            for code, target_code in ([unit.direction] if unit.direction else request.directions)
            if code in unit.texts and target_code in unit.texts
        ]
        if not own:
            unmatched += 1
            first_unmatched = first_unmatched or unit
        elif source.limit is None or taken[unit.direction] < source.skip + source.limit:
            taken[unit.direction] += 1
            pairs += own if taken[unit.direction] > source.skip else []
        elif unit.direction is None:
            break
    if first_unmatched:
        notes.append(
            f"{source.path}: {unmatched} unit(s) without two of {', '.join(request.languages)} "
            f"left out; the first, {first_unmatched.origin}, has "
            f"{', '.join(first_unmatched.spellings) or 'none'}"
        )
    served = {pair.direction for pair in pairs}
    unserved = [d for d in request.directions if "-".join(d) not in served]
    missing = ["-".join(direction) for direction in unserved]
    if not served or (request.explicit and missing):
        _check_skip(source, max(taken[of] for of in (None, *unserved)), "pairs")
        raise InputError(
            f"{source.path} holds no sentence pair for {', '.join(missing)}; check languages: and "
            "directions: of this source" + "".join(f"\n  {note}" for note in notes)
        )
    return pairs, notes


def load_pairs(path: str | Path, *directions: str, **settings: Any) -> list[Pair]:
    """The sentence pairs of a text, as a recipe's `corpus.train` reads it; nothing is cleaned.

        evokd.load_pairs("data/train", "en-de", "de-en")

    Args:
        path: a prefix (PREFIX.en + PREFIX.de), a file of any format or an address (docs/data.md).
        directions: such as en-de; a pair for each.
        settings: other keys of a source: format, languages, columns, limit, skip.

    Raises:
        InputError: whatever is wrong with the text or the settings.
    """
    if not directions:
        raise InputError("load_pairs needs a direction, e.g. load_pairs(path, 'en-de')")
    try:
        source = CorpusSource(path=str(path), **settings)
    except ValidationError as error:
        lines = explain(error, CorpusSource, {"path": str(path), **settings})
        raise InputError("\n  ".join(["load_pairs:", *lines])) from None
    return read_source(source, directions, Path())[0]


def input_files(
    source: CorpusSource | UnpairedSource, directions: Sequence[str], root: Path
) -> list[Path]:
    """The files that a source reads; none where its path is an address.

    Raises:
        InputError: a file that is missing or can't be read.
    """
    if isinstance(source, CorpusSource):
        path_is = FORMATS[source_format(source, root)].path_is
        if path_is == "address":
            return []
        if path_is == "prefix":
            return list(moses_files(request_for(source, directions, root)).values())
    elif _addressed(source.path):
        return []
    path = path_in(root, source.path)
    _refuse_pipe(path)
    with open_bytes(path):
        return [path]


def read_unpaired(source: UnpairedSource, root: Path) -> list[Pair]:
    """The lines of a text, or the source sides of a corpus with an address, as pairs with empty
    targets; nothing is cleaned.

    Raises:
        InputError: missing, empty, not UTF-8 or broken compression; nothing of that direction;
            all of it skipped.
    """
    if _addressed(source.path):
        paired = CorpusSource(path=source.path, limit=source.limit, skip=source.skip)
        pairs, _ = read_source(paired, [source.direction], root)
        return [replace(pair, target="") for pair in pairs]
    language, target_language = source.direction.split("-")
    lines = read_lines(path_in(root, source.path))
    _check_skip(source, len(lines), "lines")
    lines = lines[source.skip :][: source.limit]
    return [
        Pair(line, "", language, target_language, f"{source.path}:{number}")
        for number, line in enumerate(lines, start=source.skip + 1)
    ]


def _check_skip(source: CorpusSource | UnpairedSource, size: int, of: str) -> None:
    """Raises InputError: it skips all that there is."""
    if 0 < size <= source.skip:
        raise InputError(
            f"{source.path} has {size} {of}, skip is {source.skip}: at most {size - 1} can be "
            "skipped"
        )


def _refuse_pipe(path: Path) -> None:
    """Raises InputError: it can be read once only, or never ends."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(
            f"{path} is a pipe or a device; text is read more than once, so a file is accepted"
        )


def _addressed(path: str) -> bool:
    scheme = path.split(":")[0]
    return scheme in FORMATS and FORMATS[scheme].path_is == "address"


def source_format(source: CorpusSource, root: Path) -> str:
    """The format of a source: as the recipe says, else by its name, else by its first characters.

    Raises:
        InputError: nothing there, or nothing known.
    """
    if source.format != AUTO:
        return source.format
    if _addressed(source.path):
        return source.path.split(":")[0]
    path = path_in(root, source.path)
    suffix = _unpacked(path).suffix.lower()
    for name, spec in FORMATS.items():
        if suffix in spec.suffixes:
            return name
    return _format_by_content(path) if path.is_file() else "moses"


def _unpacked(path: Path) -> Path:
    """The name of a file without what tells that it is packed."""
    return path.with_suffix("") if path.suffix in COMPRESSIONS else path


def _format_by_content(path: Path) -> str:
    with open_bytes(path) as file:
        start = file.read(4096).decode("utf-8", errors="replace").lstrip("\ufeff \r\n")
    if not start:
        raise InputError(f"{path} is empty; sentences are needed")
    for name, spec in FORMATS.items():
        if spec.start and re.match(spec.start, start):
            return name
    of_files = [name for name, spec in FORMATS.items() if spec.path_is == "file"]
    raise InputError(
        f"{path} is in no format that its name or first line tells; for aligned files give their "
        f"common prefix ({_unpacked(path).with_suffix('')}), else say format: {', '.join(of_files)}"
    )
