"""Each flipped, torn, missing or foreign file of a run folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from evokd.rundir.claims import CLAIMS
from evokd.rundir.files import hash_file, read_sealed, write_sealed
from evokd.rundir.integrity import (
    CARD,
    CHECKED,
    CHECKPOINTS,
    MANIFEST,
    STARTED,
    damage,
    files_in,
    is_draft,
)
from evokd.rundir.records import TEXT, text_is_whole
from evokd.rundir.stage import DAMAGED, KEPT

PAGES = "pages.json"
"""Hashes of what lies in the run folder itself: recipe, results, tables, the page."""
LOCK = ".lock"
JOB_LOGS = ".slurm"
"""What jobs on Slurm say."""


def seal_pages(root: Path, names: Iterable[str]) -> None:
    """Note what was just written into the run folder itself."""
    try:
        known = read_sealed(root / PAGES)["files"]
    except (OSError, ValueError):
        known = {}
    there = {name: hash_file(root / name) for name in names if (root / name).is_file()}
    write_sealed(root / PAGES, {"files": {**known, **there}})


def verify(root: Path) -> list[str]:
    """What is wrong with the files of a run folder, a line each; everything is read, but for what
    was put aside as damaged."""
    return sorted(dict.fromkeys(_problems(root)))


def _problems(root: Path) -> Iterator[str]:
    every = (path for path in sorted(root.rglob("*")) if path.is_file())
    own = [path for path in every if path.relative_to(root).parts[0] not in (CLAIMS, JOB_LOGS)]
    paths = [path for path in own if not any(p.endswith(f".{DAMAGED}") for p in path.parts)]
    known: set[Path] = set()
    open_folders = {path.parent for path in paths if path.name == STARTED}
    for path in paths:
        if path.name == MANIFEST:
            known |= {path, *files_in(path.parent)}
            yield from _of_stage(root, path.parent)
    for path in paths:
        if path.name == PAGES:
            known.add(path)
            yield from _of_pages(root, path, known)
    for path in paths:
        inner = path.relative_to(root)
        if path in known or path.name in (LOCK, STARTED) or is_draft(inner):
            continue
        if CHECKPOINTS in inner.parts or open_folders & {*path.parents}:
            continue  # of a stage that is being made
        if path.suffix == ".json":
            known.add(path)
            yield from _of_record(root, path, known)
    for path in paths:
        unknown = path not in known and path.name not in (LOCK, STARTED, CHECKED, CARD)
        at_work = is_draft(path.relative_to(root)) or open_folders & {*path.parents}
        if unknown and not at_work and CHECKPOINTS not in path.parts:
            yield f"{path.relative_to(root)} is foreign: nothing here wrote it"


def _of_stage(root: Path, folder: Path) -> Iterator[str]:
    place = folder.relative_to(root)
    try:
        manifest = read_sealed(folder / MANIFEST)
    except (OSError, ValueError):
        yield f"{place / MANIFEST} isn't what was written"
        return
    for name, wrong in damage(folder, manifest["files"], root, thorough=True).items():
        yield f"{place / name} {wrong}"
    for path in files_in(folder):
        if path.relative_to(folder).as_posix() not in manifest["files"]:
            yield f"{path.relative_to(root)} is foreign: nothing here wrote it"


def _of_pages(root: Path, path: Path, known: set[Path]) -> Iterator[str]:
    try:
        files = read_sealed(path)["files"]
    except (OSError, ValueError):
        yield f"{path.relative_to(root)} isn't what was written"
        return
    for name, sha256 in files.items():
        page = path.parent / name
        known.add(page)
        if not page.is_file():
            yield f"{page.relative_to(root)} is missing"
        elif hash_file(page) != sha256:
            yield f"{page.relative_to(root)} isn't what was written"


def _of_record(root: Path, path: Path, known: set[Path]) -> Iterator[str]:
    try:
        record = read_sealed(path)
    except (OSError, ValueError):
        yield f"{path.relative_to(root)} isn't what was written"
        known.add(path.with_suffix(TEXT))
        return
    if "text_sha256" in record:
        known.add(path.with_suffix(TEXT))
        if not text_is_whole(path, record):
            yield f"{path.with_suffix(TEXT).relative_to(root)} isn't what was written"
    results = path.name == "results.json" and KEPT not in path.relative_to(root).parts
    for place in record.get("stages", {}) if results else ():
        if not (path.parent / place).is_dir():
            yield f"{(path.parent / place).relative_to(root)} is missing"
