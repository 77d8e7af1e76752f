"""The run folder: atomic writes, what is done, and one run at a time.

A stage writes its files and, last of all, a manifest. A manifest holds a fingerprint of everything
that the stage depended on: if it is there and the fingerprint is the same, the stage is done.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from evokd.errors import InputError

MANIFEST = "manifest.json"
STARTED = "started.json"


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines, a newline behind each, whole or not at all."""
    write_text(path, (line + "\n" for line in lines))


def write_text(path: Path, text: str | Iterable[str]) -> None:
    """Write a file whole or not at all; a text may come in parts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            file.writelines([text] if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_json(path: Path, tree: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(tree, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


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


def read_made_of(path: Path, key: str) -> dict[str, Any] | None:
    """A JSON file under a fingerprint; None where it isn't there, damaged, or under another."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        tree = read_json(path)
        return dict(tree) if tree["fingerprint"] == key else None
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


def versions() -> dict[str, str]:
    """Versions of what a result depends on, as far as it is installed."""
    installed = {"python": platform.python_version(), "platform": platform.platform()}
    models = ("torch", "transformers", "accelerate", "tokenizers")
    for name in ("evokd", *models, "sacrebleu", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed


@dataclass
class Stage:
    """One step of a study and the folder that it fills."""

    name: str
    folder: Path
    fingerprint: str
    began: float = field(default_factory=time.perf_counter, init=False, compare=False)

    def is_done(self) -> bool:
        """Whether it finished under the same settings, on the same inputs; its clock starts."""
        self.began = time.perf_counter()
        return bool(read_made_of(self.folder / MANIFEST, self.fingerprint))

    def adopt(self, folder: Path) -> bool:
        """Take over what another run made in a folder under the same settings, on the same inputs;
        whether there was such a thing. Its files are linked, not copied."""
        if not read_made_of(folder / MANIFEST, self.fingerprint):
            return False
        draft = self.folder.with_name(f".{self.folder.name}.draft")
        (self.folder / MANIFEST).unlink(missing_ok=True)  # first of all, as in `begin`
        _remove(path for path in (self.folder, draft) if path.exists())
        started = shutil.ignore_patterns(STARTED)
        shutil.copytree(folder, draft, ignore=started, copy_function=_link)
        draft.replace(self.folder)
        return True

    def facts(self) -> dict[str, Any]:
        """What the finished stage noted down."""
        return dict(read_json(self.folder / MANIFEST)["facts"])

    def begin(self) -> None:
        """Make the folder ready; an unfinished attempt under the same settings stays in it."""
        resumable = bool(read_made_of(self.folder / STARTED, self.fingerprint))
        self.folder.mkdir(parents=True, exist_ok=True)
        # First of all, or a kill in the middle leaves a manifest over half a folder.
        (self.folder / MANIFEST).unlink(missing_ok=True)
        if resumable:
            _remove(self.folder.glob(".*.draft"))
        else:
            (self.folder / STARTED).unlink(missing_ok=True)
            _remove(self.folder.iterdir())
            write_json(self.folder / STARTED, {"stage": self.name, "fingerprint": self.fingerprint})

    def finish(self, facts: dict[str, Any], **more: Any) -> None:
        """Write the manifest: from now on the stage is done."""
        manifest = {
            "stage": self.name,
            "fingerprint": self.fingerprint,
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "wall_s": round(time.perf_counter() - self.began, 2),
            "versions": versions(),
            **more,
            "facts": facts,
        }
        write_json(self.folder / MANIFEST, manifest)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second run out of a run folder; the lock falls with the process that holds it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise InputError(
            f"{folder} can't be used as a run folder ({error.strerror}); choose another with -o"
        ) from None
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"another run is at work in {folder}; wait for it, or choose another folder with -o"
            ) from None
        yield


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # not every file system has links
        shutil.copy2(source, target)


def _remove(paths: Iterable[Path]) -> None:
    for path in list(paths):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
