"""Files that are written whole or not at all, and what tells that they are what they were."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evokd.errors import InputError

SEAL = "seal"
"""Key under which a sealed JSON file holds the hash of its other keys."""
ROOM = 1 << 20
"""Bytes that a disk takes which isn't full."""


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines, a newline behind each, whole or not at all."""
    write_text(path, (line + "\n" for line in lines))


def write_text(path: Path, text: str | Iterable[str]) -> None:
    """Write a file whole or not at all; a text may come in parts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(path)
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            file.writelines([text] if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def draft_of(path: Path) -> Path:
    """Where this process, and no other of any machine, writes what is to be there when it is
    whole."""
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.draft")


def write_json(path: Path, tree: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(tree, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


@contextlib.contextmanager
def telling_of_full_disks(folder: Path) -> Iterator[None]:
    """Where writing fails, libraries don't always say why: then a little is written to the folder,
    and what stands against that is what is raised.

    Raises:
        OSError: there is no room left in the folder.
    """
    try:
        yield
    except (OSError, InputError):
        raise
    except Exception:
        probe = draft_of(folder / "room")
        try:
            probe.write_bytes(bytes(ROOM))
        finally:
            probe.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_json_lines(path: Path) -> list[Any]:
    """The objects of a file of JSON lines; none where it is missing. What a run that was killed, or
    is still going on, wrote of the last line is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8").split("\n") if path.is_file() else ():
        with contextlib.suppress(ValueError):
            lines.append(json.loads(text))
    return [line for line in lines if isinstance(line, dict)]


def write_sealed(path: Path, tree: Mapping[str, Any]) -> None:
    """Write JSON with a hash of all of it, by which `read_sealed` sees whether it was changed."""
    write_json(path, {**tree, SEAL: _seal(tree)})


def read_sealed(path: Path) -> dict[str, Any]:
    """What `write_sealed` wrote.

    Raises:
        OSError: it can't be read.
        ValueError: it isn't what was written.
    """
    tree = read_json(path)
    if not isinstance(tree, dict) or tree.pop(SEAL, None) != _seal(tree):
        raise ValueError(f"{path} isn't what was written")
    return tree


def read_made_of(path: Path, key: str) -> dict[str, Any] | None:
    """A sealed file under a fingerprint; None where it isn't there, damaged, or under another."""
    with contextlib.suppress(OSError, ValueError):
        tree = read_sealed(path)
        return tree if tree.get("fingerprint") == key else None
    return None


def fingerprint(*parts: Any) -> str:
    """A short hash of settings and of other fingerprints, the same on every machine."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _seal(tree: Mapping[str, Any]) -> str:
    return fingerprint(json.loads(json.dumps(tree)))  # numbers as keys are read as text
