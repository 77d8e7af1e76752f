"""Stages: steps of a study, what they depend on, and the folders that hold what they made.

A stage writes its files and, last of all, a manifest: what it was made of (settings, text, other
stages) and the hashes of its files. If that is there and says the same, the stage is done.

    RUN/PLACE                      what the current recipe uses
    RUN/kept/PLACE/FINGERPRINT     what was made there under other settings; never removed by a run

Going back to old settings moves what was kept into its place again. Between runs, stages are shared
by links: those of siblings, and those in a store, STORE/KIND/FINGERPRINT.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

from evokd.rundir.files import draft_of, fingerprint, read_json, read_sealed, write_sealed
from evokd.rundir.integrity import (
    CHECKPOINTS,
    LARGE,
    MANIFEST,
    STARTED,
    damage,
    remember,
    take_stock,
)
from evokd.rundir.versions import versions

KEPT = "kept"
DAMAGED = "damaged"


@dataclass
class Stage:
    """One step of a study, and its place in the run folder."""

    name: str
    root: Path
    """The run folder."""
    place: str
    """Of its own folder in there: "students/noevo.seed1"."""
    made_of: Mapping[str, Any]
    """All that it depends on, by name: settings, hashes of text, fingerprints of other stages."""
    store: Path | None = None
    """A folder of stages that several runs share."""
    began: float = field(default_factory=time.perf_counter, init=False, compare=False)

    @cached_property
    def folder(self) -> Path:
        return self.root / self.place

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.made_of)

    @cached_property
    def in_store(self) -> Path | None:
        """Where a store keeps it; the same for students of any name and seed."""
        kind = self.place.split("/")[0].split(".")[0]
        return None if self.store is None else self.store / kind / self.fingerprint

    def find(self, elsewhere: Iterable[Path] = ()) -> Path | None:
        """The folder in which it stands whole: its place, what was kept, or one of other runs. Its
        clock starts."""
        self.began = time.perf_counter()
        kept = self.root / KEPT / self.place / self.fingerprint
        stored = [] if self.in_store is None else [self.in_store]
        places = (self.folder, kept, *elsewhere, *stored)
        return next((folder for folder in places if self._is_whole(folder)), None)

    def take_up(self, found: Path) -> None:
        """Put what was found into its place. What other runs made is linked, not copied."""
        if found != self.folder:
            put_aside(self.root, self.place, DAMAGED if self.wrong() else "")
            if found.is_relative_to(self.root / KEPT):
                self.folder.parent.mkdir(parents=True, exist_ok=True)
                found.rename(self.folder)
            else:
                link_folder(found, self.folder)
        self._clear_away()  # a kill may have come between its manifest and that

    def is_settled(self, found: Path) -> bool:
        """Whether it stands in its place, and nothing of when it was made is left to clear away."""
        at_work = (found / name for name in (STARTED, CHECKPOINTS))
        return found == self.folder and not any(path.exists() for path in at_work)

    def facts(self) -> dict[str, Any]:
        """What the finished stage noted down."""
        return dict(read_sealed(self.folder / MANIFEST)["facts"])

    def wrong(self) -> dict[str, str]:
        """What is wrong with its files, where it was finished and doesn't stand whole."""
        manifest = manifest_in(self.folder)
        if manifest.get("fingerprint") != self.fingerprint:
            return {}
        return damage(self.folder, manifest["files"], self.root)

    def begin(self, goes_on: Callable[[Path], bool] = lambda folder: False) -> None:
        """Make the folder ready. What was made there under other settings is put aside; an
        unfinished attempt under the same ones is gone on with.

        Args:
            goes_on: whether what was made under other settings can be gone on with, too.
        """
        wrong = self.wrong()
        if wrong and not goes_on(self.folder):
            put_aside(self.root, self.place, DAMAGED)
        if not self._can_go_on(self.folder, goes_on):
            put_aside(self.root, self.place)
            kept = sorted((self.root / KEPT / self.place).glob("*"))
            found = next((one for one in kept if self._can_go_on(one, goes_on)), None)
            if found is not None:
                self.folder.parent.mkdir(parents=True, exist_ok=True)
                found.rename(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        # First of all, or a kill in the middle leaves a manifest over half a folder.
        write_sealed(self.folder / STARTED, self._mark())
        (self.folder / MANIFEST).unlink(missing_ok=True)
        for path in [*self.folder.glob(".*.draft"), *(self.folder / name for name in wrong)]:
            _remove(path)

    def finish(self, facts: dict[str, Any], **more: Any) -> None:
        """Write the manifest: from now on the stage is done."""
        stock = take_stock(self.folder)
        manifest = {
            "stage": self.name,
            **self._mark(),
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "wall_s": round(time.perf_counter() - self.began, 2),
            "versions": versions(),
            **more,
            "facts": facts,
            "files": stock,
        }
        write_sealed(self.folder / MANIFEST, manifest)
        self._clear_away()
        large = {name: one["sha256"] for name, one in stock.items() if one["bytes"] >= LARGE}
        remember({self.folder / name: each for name, each in large.items()}, self.root)
        if self.in_store is not None and not self._is_whole(self.in_store):
            _remove(self.in_store)  # damaged; what other runs have of it is linked to its files
            try:
                link_folder(self.folder, self.in_store)
            except OSError:
                if not self._is_whole(self.in_store):  # or another run was as fast
                    raise

    def manifest_made_of(self) -> dict[str, Any]:
        """What it is made of, as its manifest has it."""
        return dict(json.loads(json.dumps(self.made_of, default=str)))

    def _clear_away(self) -> None:
        """What was there while it was at work."""
        for name in (STARTED, CHECKPOINTS):
            _remove(self.folder / name)

    def _mark(self) -> dict[str, Any]:
        return {"fingerprint": self.fingerprint, "made_of": self.manifest_made_of()}

    def _is_whole(self, folder: Path) -> bool:
        manifest = manifest_in(folder)
        if manifest.get("fingerprint") != self.fingerprint:
            return False
        return not damage(folder, manifest["files"], self.root)

    def _can_go_on(self, folder: Path, goes_on: Callable[[Path], bool]) -> bool:
        started = _sealed(folder / STARTED).get("fingerprint") == self.fingerprint
        return started or (folder.exists() and goes_on(folder))


def manifest_in(folder: Path) -> dict[str, Any]:
    """The manifest of a finished stage; empty where there is none, or a damaged one."""
    return _sealed(folder / MANIFEST)


def is_of_earlier(folder: Path) -> bool:
    """Whether an earlier version made it, whose manifests didn't say in full what of."""
    with contextlib.suppress(OSError, ValueError):
        manifest = read_json(folder / MANIFEST)
        return isinstance(manifest, dict) and "made_of" not in manifest and "stage" in manifest
    return False


def put_aside(root: Path, place: str, why: str = "") -> Path | None:
    """Move what stands in a place of a run folder to where it is kept, under its fingerprint.

    Args:
        why: added to the name, so that nobody takes it for what it was.

    Returns:
        Where it is now; None where there was nothing.
    """
    folder = root / place
    if not folder.exists():
        return None
    if not any(folder.iterdir()):
        folder.rmdir()
        return None
    made = manifest_in(folder) or _sealed(folder / STARTED)
    if (folder / MANIFEST).exists() and not manifest_in(folder) and not is_of_earlier(folder):
        why = DAMAGED
    name = ".".join(filter(None, [made.get("fingerprint", "unknown"), why]))
    target = root / KEPT / place / name
    if target.exists() and (manifest_in(target) or not manifest_in(folder)):
        number = 2
        while target.with_name(f"{name}.{number}").exists():
            number += 1
        target = target.with_name(f"{name}.{number}")
    elif target.exists():
        _remove(target)  # half of what is finished now
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(target)
    return target


def link_folder(source: Path, target: Path) -> None:
    """A finished stage's folder once more, whole or not at all. Its files are linked, where the
    file system has links, or copied."""
    draft = draft_of(target)
    _remove(draft)
    draft.parent.mkdir(parents=True, exist_ok=True)
    at_work = shutil.ignore_patterns(STARTED, CHECKPOINTS)
    try:
        shutil.copytree(source, draft, ignore=at_work, copy_function=_link)
        draft.rename(target)
    except OSError:
        _remove(draft)
        raise


def _sealed(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        return read_sealed(path)
    return {}


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # not every file system has links
        shutil.copy2(source, target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
