"""Work on chunks of a stream in processes of their own: results in order, and no more chunks in
memory than there are processes.

Pools of the standard library read all of their input at once, and outlive a parent that is killed.
Here each process gets a chunk, answers, and gets the next; where its input ends, it ends.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from typing import Any, TypeVar

from evokd.errors import InputError

FEW = 8
"""Chunks that are done here: processes take a second to start."""
MOST = 8
"""Processes; more would wait for the one that reads and writes."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
C = TypeVar("C")
R = TypeVar("R")


def in_order(
    work: Callable[[C], R], chunks: Iterable[C], processes: int | None = None, few: int = FEW
) -> Iterator[R]:
    """`map(work, chunks)`, by several processes where there are more than a few chunks.

    Args:
        work: can be pickled, as chunks and results can.
        processes: by default one for each core that this one may use.

    Raises:
        InputError: a process was ended from outside.
        RuntimeError: one failed, or raised what can't be pickled.
    """
    chunks = iter(chunks)
    yield from map(work, islice(chunks, few))
    count = min(MOST, _cores()) if processes is None else processes
    if count < 2:
        yield from map(work, chunks)
        return
    first = list(islice(chunks, 1))
    if first:
        yield from _shared_out(work, chain(first, chunks), count)


def _shared_out(work: Callable[[C], R], chunks: Iterator[C], count: int) -> Iterator[R]:
    at_work: deque[subprocess.Popen[bytes]] = deque()
    started: list[subprocess.Popen[bytes]] = []
    try:
        for chunk in islice(chunks, count):
            process = _start(work)
            started.append(process)
            _send(process, chunk)
            at_work.append(process)
        while at_work:
            process = at_work.popleft()
            result = _receive(process)
            for chunk in islice(chunks, 1):
                _send(process, chunk)
                at_work.append(process)
            yield result
    finally:
        for process in started:
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    assert pipe is not None
                    pipe.close()
            process.wait()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start(work: Callable[[Any], Any]) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, sys.path))
    own = {"PYTHONPATH": path, **dict.fromkeys(_THREADS, "1")}
    # No module of the user's folder, which -c puts first, takes the place of another one.
    code = (
        f"import sys; sys.path[:] = filter(None, sys.path); from {__name__} import serve; serve()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **own},
    )
    _send(process, work)
    return process


def _send(process: subprocess.Popen[bytes], what: Any) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # `_receive` says why
        pickle.dump(what, process.stdin, pickle.HIGHEST_PROTOCOL)
        process.stdin.flush()


def _receive(process: subprocess.Popen[bytes]) -> Any:
    try:
        result, error = pickle.load(process.stdout)  # type: ignore[arg-type]
    except (EOFError, pickle.UnpicklingError):
        code = process.wait()
        if code >= 0:
            raise RuntimeError(
                f"a process that reads text failed (exit code {code}); what it said stands above"
            ) from None
        raise InputError(
            f"a process that reads text was ended (exit code {code}), most likely for lack of "
            "memory; run again, with fewer other programs beside it"
        ) from None
    if error is not None:
        raise error
    return result


def serve() -> None:
    """What such a process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    chunks, results = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # where whatever is printed goes
    with suppress(EOFError, BrokenPipeError):
        work = pickle.load(chunks)
        while True:
            chunk, error = pickle.load(chunks), None
            try:
                result = work(chunk)
            except Exception as raised:
                result, error = None, _sendable(raised)
            pickle.dump((result, error), results, pickle.HIGHEST_PROTOCOL)
            results.flush()
    os._exit(0)  # a result that nobody reads isn't to be flushed


def _sendable(error: Exception) -> Exception:
    """It, or what it says where it can't be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its own methods raise
        return RuntimeError("".join(traceback.format_exception(error)))
    return error
