"""How faults are tried: in children of one warm process, with limits, and what counts as survived.

A child is a fork that has everything imported, so that it starts at once and may be killed, run
out of memory or hang without taking anything with it.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib
import os
import pkgutil
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import evokd
from evokd.cli import main as evokd_main
from evokd.data.identification import can_be_told

BAD_INPUT = 2
CRASHED = 70
"""Exit code of a child that an exception got out of."""
TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Ending:
    """How a child ended."""

    code: int | None
    """Its exit code; None where it was killed."""
    signal: int | None
    """What killed it; None where nothing did."""
    said: str
    """On stdout and stderr."""
    seconds: float

    def breach(self, accepted: Sequence[int] = (0, BAD_INPUT)) -> str | None:
        """What it did that bad input never may lead to; None if it behaved."""
        if TRACEBACK in self.said:
            return f"a traceback: {self._last_line()}"
        if self.signal == signal.SIGKILL:
            return f"still at work after {self.seconds:.0f} s"
        if self.signal is not None:
            return f"ended by signal {self.signal}: {self._last_line()}"
        if self.code not in accepted:
            return f"exit code {self.code}: {self._last_line()}"
        return None

    def _last_line(self) -> str:
        told = [line for line in self.said.splitlines() if line.startswith("evokd: ")]
        lines = told or self.said.strip().splitlines() or ["nothing was said"]
        return lines[-1][:300]


@dataclass
class Tally:
    """How often a fault was tried, and where it wasn't survived."""

    fault: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)
    """What went wrong, with the seed and the number that bring it about again."""
    notes: list[str] = field(default_factory=list)

    def count(self, problem: str | None) -> None:
        self.tried += 1
        if problem is not None:
            self.failures.append(problem)

    @property
    def survived(self) -> int:
        return self.tried - len(self.failures)


def warm_up() -> None:
    """Import all of evokd, and what it imports when it is asked for, so that no child has to, nor
    search it for garbage, which copies it."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for module in pkgutil.walk_packages(evokd.__path__, "evokd."):
        if not module.name.endswith(("__main__", "triton_kernels")):
            with contextlib.suppress(ImportError):  # what needs another machine
                importlib.import_module(module.name)
    for name in ("polib", "sacrebleu", "tensorboardX", "transformers.trainer"):
        importlib.import_module(name)
    for name in ("backends.backend_svg", "layout_engine"):  # for figures
        importlib.import_module(f"matplotlib.{name}")
    can_be_told("en")  # its model is unpacked
    gc.collect()
    gc.freeze()


class Child:
    """A call in a process of its own, which may be killed."""

    def __init__(
        self,
        call: Callable[[], int],
        folder: Path,
        memory: int | None = None,
        file_size: int | None = None,
    ) -> None:
        """Start it.

        Args:
            call: its result is the exit code.
            folder: where it is at home: the working folder, and that of temporary files.
            memory: bytes that it may have beyond what this process has.
            file_size: bytes that a file may grow to.
        """
        self.output = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `wait`)
        self.began = time.perf_counter()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            self._act(call, folder, memory, file_size)

    def wait(self, seconds: float) -> Ending:
        """How it ends by itself, or is killed when so many seconds are over."""
        handle = os.pidfd_open(self.pid)
        try:
            if not select.select([handle], [], [], seconds)[0]:
                os.kill(self.pid, signal.SIGKILL)
        finally:
            os.close(handle)
        status = os.waitpid(self.pid, 0)[1]
        took = time.perf_counter() - self.began
        self.output.seek(0)
        said = self.output.read().decode("utf-8", "replace")
        self.output.close()
        if os.WIFSIGNALED(status):
            return Ending(None, os.WTERMSIG(status), said, took)
        return Ending(os.WEXITSTATUS(status), None, said, took)

    def _act(
        self, call: Callable[[], int], folder: Path, memory: int | None, file_size: int | None
    ) -> None:
        code = CRASHED
        try:
            os.dup2(self.output.fileno(), 1)
            os.dup2(self.output.fileno(), 2)
            sys.stdin = open(os.devnull)  # noqa: SIM115  (until the process ends)
            sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            os.chdir(folder)
            tempfile.tempdir = str(folder)
            if memory is not None:
                limit = _held() + memory
                resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            if file_size is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
            code = call()
        except SystemExit as stop:  # argparse's
            code = stop.code if isinstance(stop.code, int) else CRASHED
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


def run_evokd(
    argv: Sequence[object],
    folder: Path,
    seconds: float = 60,
    memory: int | None = None,
    file_size: int | None = None,
) -> Ending:
    """The command line in a child."""
    words = [str(word) for word in argv]
    return Child(lambda: evokd_main(words), folder, memory, file_size).wait(seconds)


def tree_hash(folder: Path) -> str:
    """Of all names and contents below a folder, but for the lock, which holds nothing."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != ".lock":
            digest.update(f"{path.relative_to(folder)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _held() -> int:
    """Address space of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
