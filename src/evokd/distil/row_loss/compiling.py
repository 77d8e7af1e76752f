"""Our own C: compiled when a machine first asks for it, and kept for the next time."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

_FLAGS = (
    # The first that a compiler takes.
    ("-fopenmp", "-march=native", "-mprefer-vector-width=512"),
    ("-fopenmp", "-march=native"),
    ("-fopenmp", "-mcpu=native"),
    ("-fopenmp-simd", "-mcpu=native"),  # no OpenMP: Apple's clang
    ("-fopenmp-simd",),
)
_ALWAYS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")


def load_c(source: Path) -> ctypes.CDLL:
    """What a C file became.

    Raises:
        OSError: it can't be compiled here, or not be kept.
    """
    try:
        return ctypes.CDLL(str(_compiled(source)))
    except subprocess.SubprocessError as error:
        raise OSError(str(error)) from error


def _compiled(source: Path) -> Path:
    """The library's file, made if it isn't there. Raises OSError or SubprocessError."""
    names = (os.environ.get("CC") or "cc", "cc", "gcc", "clang")
    compiler = next(filter(None, map(shutil.which, names)), None)
    if compiler is None:
        raise OSError("there is no C compiler")
    known = Path(compiler).resolve().stat()
    made_by = repr((compiler, known.st_size, known.st_mtime_ns, _ALWAYS, _FLAGS))
    mark = hashlib.sha256(b"".join([source.read_bytes(), made_by.encode(), _processor()]))
    name = f"{source.stem}-{mark.hexdigest()[:16]}.so"
    for folder in _cache_folders():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_ours(folder):
                continue
            if (folder / name).exists():
                return folder / name
            own = tempfile.TemporaryDirectory(dir=folder)
        except OSError:
            continue
        with own as path:
            made = Path(path) / name
            _compile(compiler, source, made)
            made.replace(folder / name)  # at once: another process may be at the same
        return folder / name
    raise OSError("no folder to keep it in can be written")


def _compile(compiler: str, source: Path, made: Path) -> None:
    complaint = ""
    for flags in _FLAGS:
        command = [compiler, *_ALWAYS, *flags, str(source), "-o", str(made), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode == 0:
            return
        complaint = complaint or done.stderr.strip()[:200]
    raise OSError(f"{compiler} fails: {complaint}")


def _processor() -> bytes:
    """What -march=native depends on: a home folder may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n", 1)[0].split("\n")
        return "".join(line for line in lines if line[:5] in ("flags", "model", "Featu")).encode()
    except OSError:
        return (platform.machine() + platform.processor() + platform.node()).encode()


def _is_ours(folder: Path) -> bool:
    """Nobody else can put a library there for us to load."""
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def _cache_folders() -> list[Path]:
    folders = [Path(tempfile.gettempdir()) / f"evokd-{os.getuid()}"]
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home
        return folders
    return [home / "evokd", *folders]
