"""Records: small results in sealed JSON files that say what they were made of, with a text beside.

Like a stage, one that was made of something else is kept (RUN/kept/PLACE/FINGERPRINT/NAME.json),
and taken up again where it fits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from evokd.rundir.files import (
    fingerprint,
    hash_file,
    read_made_of,
    read_sealed,
    write_lines,
    write_sealed,
)
from evokd.rundir.stage import KEPT

TEXT = ".txt"


def read_record(root: Path, path: Path, made_of: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record in RUN/PLACE/NAME.json or one that was kept, if it was made of just that."""
    found = find_record(root, path, fingerprint(made_of))
    return None if found is None else read_sealed(found)


def find_record(root: Path, path: Path, key: str) -> Path | None:
    """Where it is whole: in its place, or kept."""
    places = (path, _kept(root, path, key))
    return next((place for place in places if _is_whole(place, key)), None)


def take_up_record(root: Path, path: Path, made_of: Mapping[str, Any]) -> bool:
    """Put a record that was made of just that into its place, if there is one."""
    found = find_record(root, path, fingerprint(made_of))
    if found is None or found == path:
        return found is not None
    _put_aside(root, path)
    for suffix in (TEXT, ".json"):  # the record last: it vouches for the text
        if found.with_suffix(suffix).exists():
            found.with_suffix(suffix).replace(path.with_suffix(suffix))
    return True


def write_record(
    root: Path,
    path: Path,
    made_of: Mapping[str, Any],
    found: Mapping[str, Any],
    lines: Iterable[str] | None = None,
) -> None:
    """Write a record, and a text of one line each beside it; what was in its place is kept."""
    _put_aside(root, path)
    path.unlink(missing_ok=True)
    record = {"fingerprint": fingerprint(made_of), "made_of": made_of}
    if lines is not None:
        write_lines(path.with_suffix(TEXT), lines)
        record["text_sha256"] = hash_file(path.with_suffix(TEXT))
    write_sealed(path, {**record, **found})


def text_is_whole(path: Path, record: Mapping[str, Any]) -> bool:
    """Whether the text beside a record is what was written, if there is to be one."""
    text = path.with_suffix(TEXT)
    sha256 = record.get("text_sha256")
    return sha256 is None or (text.is_file() and hash_file(text) == sha256)


def _is_whole(path: Path, key: str) -> bool:
    record = read_made_of(path, key)
    return record is not None and text_is_whole(path, record)


def _kept(root: Path, path: Path, key: str) -> Path:
    return root / KEPT / path.relative_to(root).with_suffix("") / key / path.name


def _put_aside(root: Path, path: Path) -> None:
    """If it is whole; half of one is nothing to go back to."""
    with contextlib.suppress(OSError, ValueError):
        record = read_sealed(path)
        if text_is_whole(path, record):
            target = _kept(root, path, record["fingerprint"])
            target.parent.mkdir(parents=True, exist_ok=True)
            for suffix in (".json", TEXT):
                if path.with_suffix(suffix).exists():
                    path.with_suffix(suffix).replace(target.with_suffix(suffix))
