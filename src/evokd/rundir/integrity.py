"""Whether files are still what a stage wrote: their sizes and hashes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evokd.rundir.files import hash_file, read_sealed, write_sealed

MANIFEST = "manifest.json"
STARTED = "started.json"
CHECKPOINTS = "checkpoints"
CARD = "README.md"
"""Of a model: written anew with its scores, and anyone may edit it."""
CHECKED = "checked.json"
LARGE = 1 << 24
"""Bytes from which a file is hashed again only where its size or time changed."""
Stock = Mapping[str, Mapping[str, Any]]
"""Path within a folder → bytes and sha256."""
_seen: set[tuple[str, int, int]] = set()
"""Path, size and time of files that this process found to be what was written."""


def take_stock(folder: Path) -> dict[str, dict[str, Any]]:
    """Sizes and hashes of what a stage wrote into its folder."""
    stock = {}
    for path in files_in(folder):
        stock[path.relative_to(folder).as_posix()] = {
            "bytes": path.stat().st_size,
            "sha256": hash_file(path),
        }
        _seen.add(_state(path))
    return stock


def files_in(folder: Path) -> Iterator[Path]:
    """Files of a stage, but for its manifest, cards, and what is there while it is at work."""
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        at_work = inner.parts[0] in (MANIFEST, STARTED, CHECKPOINTS) or is_draft(inner)
        if path.is_file() and not at_work and path.name != CARD:
            yield path


def is_draft(path: Path) -> bool:
    """Whether it was being written when somebody pulled the plug."""
    return any(part.startswith(".") and part.endswith(".draft") for part in path.parts)


def damage(folder: Path, stock: Stock, root: Path, thorough: bool = False) -> dict[str, str]:
    """Path within a folder → what is wrong with it.

    Sizes are compared always, hashes of small files once in a process, those of large ones once for
    each state of the file.

    Args:
        root: the run folder, which remembers what was hashed.
        thorough: hash everything.
    """
    wrong = {}
    for name, was in stock.items():
        path = folder / name
        if path.name == CARD:
            continue
        if not path.is_file():
            wrong[name] = "is missing"
        elif path.stat().st_size != was["bytes"]:
            wrong[name] = f"has {path.stat().st_size} bytes, {was['bytes']} were written"
        elif thorough or _state(path) not in _seen:
            if (hash_file(path) if thorough else hash_of(path, root)) != was["sha256"]:
                wrong[name] = "isn't what was written"
            else:
                _seen.add(_state(path))
    return wrong


def hash_of(path: Path, root: Path) -> str:
    """SHA-256 of a file; of a large one as remembered, where size and time are what they were."""
    _, size, time = _state(path)
    if size < LARGE:
        return hash_file(path)
    known = _remembered(root).get(_name(path, root), [])
    return str(known[2]) if known[:2] == [size, time] else remember({path: hash_file(path)}, root)


def remember(hashes: Mapping[Path, str], root: Path) -> str:
    """Note hashes of large files, so that no later run needs to read them; the last of them."""
    states = _remembered(root)
    states |= {_name(path, root): [*_state(path)[1:], each] for path, each in hashes.items()}
    if hashes:
        with contextlib.suppress(OSError):  # a folder that can only be read is hashed each time
            write_sealed(root / CHECKED, {"states": states})
    return list(hashes.values())[-1] if hashes else ""


def _remembered(root: Path) -> dict[str, list[Any]]:
    with contextlib.suppress(OSError, ValueError):
        return dict(read_sealed(root / CHECKED)["states"])
    return {}


def _name(path: Path, root: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path.absolute()).as_posix()


def _state(path: Path) -> tuple[str, int, int]:
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns
