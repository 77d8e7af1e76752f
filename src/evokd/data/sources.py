"""One source of a recipe → pairs, whatever its format."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from glob import escape
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from evokd.data.pairs import Pair
from evokd.data.readers.files import moses_files
from evokd.data.source_request import Direction, Unit, request_for
from evokd.data.textfiles import COMPRESSIONS, count_lines, open_bytes, path_in, stream_lines
from evokd.errors import InputError
from evokd.recipe.corpus import CorpusSource, UnpairedSource
from evokd.recipe.formats import AUTO, FORMATS
from evokd.recipe.validation import explain


def read_source(
    source: CorpusSource, directions: Sequence[str], root: Path
) -> tuple[list[Pair], list[str]]:
    """All pairs of a source and notes for the user; see `stream_source`."""
    notes: list[str] = []
    pairs = list(chain.from_iterable(stream_source(source, directions, root, notes)))
    return pairs, notes


def stream_source(
    source: CorpusSource, directions: Sequence[str], root: Path, notes: list[str]
) -> Iterator[list[Pair]]:
    """The pairs of a source, one for each of the study's directions that it serves, a sentence at a
    time.

    The directions of one sentence share their origin. Nothing is cleaned; empty lines are pairs
    with empty text.

    Args:
        directions: the study's, `en-de`; a source's own `directions` narrow them.
        root: the folder that relative paths start from.
        notes: takes what the user should know.

    Raises:
        InputError: whatever is wrong with the source, with file and line.
    """
    taken: Counter[object] = Counter()  # units by direction, where they serve one alone
    served: set[str] = set()
    unmatched, first_unmatched = 0, None
    for unit, wanted in _units(source, directions, root, notes):
        own = [
            Pair(unit.texts[code], unit.texts[target_code], code, target_code, unit.origin)
            for code, target_code in ([unit.direction] if unit.direction else wanted)
            if code in unit.texts and target_code in unit.texts
        ]
        if not own:
            unmatched += 1
            first_unmatched = first_unmatched or unit
        elif source.limit is None or taken[unit.direction] < source.skip + source.limit:
            taken[unit.direction] += 1
            if taken[unit.direction] > source.skip:
                served.update(pair.direction for pair in own)
                yield own
        elif unit.direction is None:
            break
    request = request_for(source, directions, root)
    if first_unmatched:
        notes.append(
            f"{source.path}: {unmatched} unit(s) without two of {', '.join(request.languages)} "
            f"left out; the first, {first_unmatched.origin}, has "
            f"{', '.join(first_unmatched.spellings) or 'none'}"
        )
    unserved = [d for d in request.directions if "-".join(d) not in served]
    missing = ["-".join(direction) for direction in unserved]
    if not served or (request.explicit and missing):
        _check_skip(source, max(taken[of] for of in (None, *unserved)), "pairs")
        raise InputError(
            f"{source.path} holds no sentence pair for {', '.join(missing)}; check languages: and "
            "directions: of this source" + "".join(f"\n  {note}" for note in notes)
        )


def _units(
    source: CorpusSource, directions: Sequence[str], root: Path, notes: list[str]
) -> Iterator[tuple[Unit, tuple[Direction, ...]]]:
    """What stands in the files of a source, one file after the other, and the directions that are
    wanted of it."""
    for one in shards(source, root):
        request = request_for(one, directions, root)
        _refuse_pipe(request.path)
        read = FORMATS[source_format(one, root)].load_reader()
        for unit in read(request, notes):
            yield unit, request.directions


_PATTERN = re.compile(r"[*?[]")
S = TypeVar("S", bound="CorpusSource | UnpairedSource")


def shards(source: S, root: Path) -> list[S]:
    """A source for each file that its path is a pattern of (`train-*.jsonl.zst`), by name, or for
    each prefix of files (`train-*` of train-00.en, train-00.de, …); itself where it is none.

    Raises:
        InputError: no file is called so.
    """
    path = source.path
    if not _PATTERN.search(path) or _addressed(path):
        return [source]
    start = path_in(root, path)
    if start.exists() or any(start.parent.glob(f"{escape(start.name)}.*")):
        return [source]  # a name that has a * or a [ in it
    folder = Path(start.anchor)
    names = start.relative_to(folder).as_posix()
    found = [one for one in sorted(folder.glob(names)) if one.is_file()]
    if isinstance(source, CorpusSource) and _may_be_prefix(source, found):
        # Behind a prefix comes a language, and perhaps how the file is packed.
        files = [_unpacked(one) for one in sorted(folder.glob(f"{names}.*")) if one.is_file()]
        prefixes = dict.fromkeys(one.with_suffix("") for one in files)
        # train-* is no prefix of train-00.old.en.
        found = [one for one in prefixes if fnmatch(one.name, start.name)] or found
    if not found:
        raise InputError(f"{path}: no file is called so; * stands for any part of a name")
    # As the user spells the folder: an origin is the same wherever the root is.
    base = path_in(root, "")
    inside = [one.relative_to(base) if one.is_relative_to(base) else one for one in found]
    return [cast(S, source.model_copy(update={"path": str(one)})) for one in inside]


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
    return [path for one in shards(source, root) for path in _files_of(one, directions, root)]


def _files_of(
    source: CorpusSource | UnpairedSource, directions: Sequence[str], root: Path
) -> list[Path]:
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


def expected_pairs(source: CorpusSource, directions: Sequence[str], root: Path) -> int | None:
    """About how many pairs `stream_source` will yield; None where only reading tells."""
    wanted, lines = len(request_for(source, directions, root).directions), 0
    if source.limit is not None:
        return source.limit * wanted
    for one in shards(source, root):
        if source_format(one, root) not in ("moses", "tsv", "json"):
            return None
        lines += count_lines(_files_of(one, directions, root)[0])
    return max(lines - source.skip, 0) * wanted


def stream_unpaired(source: UnpairedSource, root: Path) -> Iterator[Pair]:
    """The lines of a text, or the source sides of a corpus with an address, as pairs with empty
    targets; nothing is cleaned.

    Raises:
        InputError: missing, empty, not UTF-8 or broken compression; nothing of that direction;
            all of it skipped.
    """
    if _addressed(source.path):
        paired = CorpusSource(path=source.path, limit=source.limit, skip=source.skip)
        for pairs in stream_source(paired, [source.direction], root, []):
            yield from (replace(pair, target="") for pair in pairs)
        return
    codes = source.direction.split("-")
    last = None if source.limit is None else source.skip + source.limit
    read = 0
    for one in shards(source, root):
        for number, line in enumerate(stream_lines(path_in(root, one.path)), start=1):
            read += 1
            if last is not None and read > last:
                return
            if read > source.skip:
                yield Pair(line, "", codes[0], codes[1], f"{one.path}:{number}")
    _check_skip(source, read, "lines")


def _may_be_prefix(source: CorpusSource, files: Sequence[Path]) -> bool:
    """Whether a pattern may be one of prefixes, and not of these files."""
    known = [suffix for spec in FORMATS.values() for suffix in spec.suffixes]
    told = any(_unpacked(one).suffix.lower() in known for one in files)
    return source.format == "moses" or (source.format == AUTO and not told)


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
    source = shards(source, root)[0]
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
