"""One source of a recipe → pairs, whatever its format."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from evokd.data import formats
from evokd.data import remote as named
from evokd.data.language_request import Unit, Wanted, wanted_from
from evokd.data.pairs import Pair
from evokd.data.textfiles import COMPRESSIONS, PACKING_ERRORS, open_bytes, read_lines
from evokd.data.tmx import read_tmx
from evokd.errors import InputError
from evokd.recipe.corpus import CorpusSource, UnpairedSource

log = logging.getLogger(__name__)

_READERS: dict[str, Callable[[Path, Wanted, list[str]], Iterator[Unit]]] = {
    "moses": formats.read_moses,
    "tsv": formats.read_tsv,
    "json": formats.read_json,
    "tmx": read_tmx,
    "po": formats.read_po,
}
_NAMED = ("hub", "sacrebleu", "phrasebook")
_SUFFIXES = {
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".tmx": "tmx",
    ".po": "po",
}


def read_source(source: CorpusSource, directions: Sequence[str], root: Path) -> list[Pair]:
    """All pairs of a source, one for each of the study's directions that it serves.

    The directions of one sentence are neighbours and share their origin. Nothing is cleaned; empty
    lines are pairs with empty text.

    Args:
        directions: the study's, `en-de`; a source's own `directions` narrow them.
        root: the folder that relative paths start from.

    Raises:
        InputError: whatever is wrong with the source, with file and line.
    """
    pairs, notes = read_with_notes(source, directions, root)
    for note in notes:
        log.warning("%s", note)
    return pairs


def input_files(source: CorpusSource, directions: Sequence[str], root: Path) -> list[Path]:
    """The files that a source reads; none for the hub, sacreBLEU's test sets and the phrasebook.

    Raises:
        InputError: a missing file.
    """
    path = _path(source, root)
    kind = source_format(source, root)
    if kind in _NAMED:
        return []
    if kind == "moses":
        return list(formats.moses_files(path, wanted_from(source, directions)).values())
    open_bytes(path).close()
    return [path]


def read_unpaired(source: UnpairedSource, root: Path) -> list[Pair]:
    """The lines of a text as pairs with empty targets; nothing is cleaned.

    Raises:
        InputError: missing, empty, not UTF-8 or broken compression.
    """
    language, target_language = source.direction.split("-")
    lines = read_lines(unpaired_file(source, root))[: source.limit]
    return [
        Pair(line, "", language, target_language, f"{source.path}:{number}")
        for number, line in enumerate(lines, start=1)
    ]


def unpaired_file(source: UnpairedSource, root: Path) -> Path:
    """The file that holds a text without translations.

    Raises:
        InputError: it's missing.
    """
    path = root / Path(source.path).expanduser()
    open_bytes(path).close()
    return path


def source_format(source: CorpusSource, root: Path) -> str:
    """The format of a source: as the recipe says, else by its name, else by its first bytes.

    Raises:
        InputError: nothing there, or nothing known.
    """
    if source.format != "auto":
        return source.format
    scheme = source.path.split(":")[0]
    if scheme in _NAMED:
        return scheme
    path = _path(source, root)
    plain = path.with_suffix("") if path.suffix in COMPRESSIONS else path
    if plain.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[plain.suffix.lower()]
    return _format_by_content(path) if path.is_file() else "moses"


def _format_by_content(path: Path) -> str:
    try:
        with open_bytes(path) as file:
            start = file.read(4096).decode("utf-8", errors="replace").lstrip("\ufeff \r\n")
    except PACKING_ERRORS as error:
        raise InputError(f"{path} can't be unpacked: {error}") from None
    if not start:
        raise InputError(f"{path} is empty; sentences are needed")
    if start[:1] in ("[", "{"):
        return "json"
    if start.startswith("<") and "<tmx" in start:
        return "tmx"
    if "\t" in start.split("\n")[0]:
        return "tsv"
    raise InputError(
        f"{path} is in no format that its name or first line tells; for aligned files give their "
        f"common prefix ({path.with_suffix('')}), else say format: tsv, json, tmx or po"
    )


def _path(source: CorpusSource, root: Path) -> Path:
    return root / Path(source.path).expanduser()


def read_with_notes(
    source: CorpusSource, directions: Sequence[str], root: Path
) -> tuple[list[Pair], list[str]]:
    """The same as `read_source`, and what its reader of the source should tell a user."""
    wanted = wanted_from(source, directions)
    notes: list[str] = []
    pairs: list[Pair] = []
    taken: Counter[object] = Counter()  # units by direction, where they serve one alone
    unmatched, first_unmatched = 0, None
    for unit in _units(source, wanted, root, notes):
        found = _directed(unit, wanted)
        if not found:
            unmatched += 1
            first_unmatched = first_unmatched or unit
        elif source.limit is None or taken[unit.direction] < source.limit:
            taken[unit.direction] += 1
            pairs += found
        elif unit.direction is None:
            break
    if first_unmatched:
        notes.append(
            f"{source.path}: {unmatched} unit(s) without two of {', '.join(wanted.languages)} left "
            f"out; the first, {first_unmatched.origin}, has "
            f"{', '.join(first_unmatched.spellings) or 'none'}"
        )
    _check_served(source, wanted, pairs, notes)
    return pairs, notes


def _units(source: CorpusSource, wanted: Wanted, root: Path, notes: list[str]) -> Iterator[Unit]:
    kind = source_format(source, root)
    if kind == "hub":
        return named.read_hub(root, wanted, notes)
    if kind == "sacrebleu":
        return named.read_sacrebleu(wanted, notes)
    if kind == "phrasebook":
        return named.read_phrasebook(wanted, notes)
    return _READERS[kind](_path(source, root), wanted, notes)


def _directed(unit: Unit, wanted: Wanted) -> list[Pair]:
    directions = (unit.direction,) if unit.direction else wanted.directions
    return [
        Pair(unit.texts[source], unit.texts[target], source, target, unit.origin)
        for source, target in directions
        if source in unit.texts and target in unit.texts
    ]


def _check_served(
    source: CorpusSource, wanted: Wanted, pairs: Sequence[Pair], notes: Sequence[str]
) -> None:
    served = {pair.direction for pair in pairs}
    asked = ["-".join(direction) for direction in wanted.directions]
    if not served or (wanted.explicit and len(served) < len(asked)):
        missing = ", ".join(direction for direction in asked if direction not in served)
        raise InputError(
            f"{source.path} holds no sentence pair for {missing}; check languages: and directions: "
            "of this source" + "".join(f"\n  {note}" for note in notes)
        )
