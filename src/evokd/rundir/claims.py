"""Claims: who makes what in a run folder, over all machines that share its disk.

    RUN/.claims/students~sft.seed1.3    the third claim to that place: whose it is

A claim is a file that its holder creates where there was none and touches every BEAT seconds; the
end of the work removes it. One whose process is gone from this machine, or that nobody touched for
STALE seconds, is dead: the claim of the next number follows it. Nothing but exclusive creation is
asked of the disk, which network disks grant, where flock isn't reliable everywhere; no clock is
compared with another machine's.
"""

from __future__ import annotations

import json
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

CLAIMS = ".claims"
BEAT = 15.0
STALE = 300.0
"""Seconds without a sign after which a claim of another machine is dead. Long, since a library may
keep the interpreter, and the thread that touches the file with it, for a minute or two."""
POLL = 0.5
INTERRUPTED = 130
"""Exit code of one that may go on later."""
_held: dict[tuple[int, Path], Claim] = {}
"""This process's own, by its number (a fork has none) and their places."""


@dataclass
class Claim:
    """The right to make one thing of a run folder, until it is released or its process ends."""

    path: Path
    """RUN/.claims/PLACE.NUMBER"""
    text: str
    """What the file says, which no other claim does."""
    _released: threading.Event = field(default_factory=threading.Event)

    def release(self) -> None:
        """Let others make it; it is done, or given up."""
        self._released.set()
        _held.pop((os.getpid(), self.path.with_suffix("")), None)
        if _text_of(self.path) == self.text:
            self.path.unlink(missing_ok=True)

    def keep_up(self) -> None:
        """Touch the file until the claim is released. Where it was taken over, because this process
        was stopped for long or cut off from the disk, the process ends: what it made so far is as
        good as after a kill, and two that write the same files help nobody."""
        while not self._released.wait(BEAT):
            try:
                if self.path.read_text(encoding="utf-8") == self.text:
                    os.utime(self.path)
                    continue
            except FileNotFoundError:
                pass
            except OSError:  # the disk is away for a moment
                continue
            if not self._released.is_set():
                print(f"evokd: {self.path} was taken over by another process", file=sys.stderr)
                sys.stderr.flush()
                os._exit(INTERRUPTED)
            return


def claim(root: Path, place: str, waiting: Callable[[str], None] = lambda who: None) -> Claim:
    """Wait until nobody else in any process makes what is in a place of a run folder, and claim it.

    Args:
        waiting: told once who makes it, if somebody does.
    """
    folder, name = root / CLAIMS, place.replace("/", "~")
    own = _held.get((os.getpid(), folder / name))
    if own is not None:
        return own
    seen: dict[int, tuple[str, float]] = {}
    told = False
    while True:
        signs = _signs(folder, name)
        for number, sign in signs.items():
            if number not in seen or seen[number][0] != sign:
                seen[number] = sign, time.monotonic()
        alive = [
            sign
            for number, sign in signs.items()
            if not _is_dead(sign) and time.monotonic() - seen[number][1] < STALE
        ]
        if alive:
            if not told and alive[-1]:
                waiting(_whose(alive[-1]))
                told = True
            time.sleep(POLL)
            continue
        number = max(signs, default=0) + 1
        path, text = _path(folder, name, number), _signature()
        if not _create(path, text):
            continue
        # Somebody may have been slow between looking and creating, when all had changed meanwhile,
        # and a number that was a dead one's may be a living one's again: of two who come to hold
        # claims one at least sees the other's, and withdraws.
        now = _signs(folder, name)
        if any(signs.get(other) != sign for other, sign in now.items() if other != number):
            path.unlink(missing_ok=True)
            time.sleep(random.uniform(0, POLL))
            continue
        for dead in signs:
            _path(folder, name, dead).unlink(missing_ok=True)
        made = Claim(path, text)
        _held[os.getpid(), folder / name] = made
        threading.Thread(target=made.keep_up, name=f"claim {place}", daemon=True).start()
        return made


def claimed(root: Path) -> list[str]:
    """Places of a run folder at which some process is at work, as far as can be told at once."""
    found = []
    for path in sorted((root / CLAIMS).glob("*.*")):
        sign = _sign(path)  # "": released since
        if sign and not _is_dead(sign) and time.time() - int(sign.split()[0]) / 1e9 < STALE:
            found.append(path.name.rpartition(".")[0].replace("~", "/"))
    return found


def _path(folder: Path, name: str, number: int) -> Path:
    return folder / f"{name}.{number}"


def _signs(folder: Path, name: str) -> dict[int, str]:
    """Of the claims to a place, in whatever state, by their numbers."""
    try:
        parts = [each.rpartition(".") for each in os.listdir(folder)]
    except FileNotFoundError:
        return {}
    numbers = [int(number) for stem, _, number in parts if stem == name and number.isdigit()]
    return {number: _sign(_path(folder, name, number)) for number in numbers}


def _create(path: Path, text: str) -> bool:
    """Whether this process was the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def _signature() -> str:
    owner = {"host": socket.gethostname(), "machine": _machine(), "pid": os.getpid()}
    return json.dumps({**owner, "began": _began(os.getpid()), "claim": random.getrandbits(64)})


def _sign(path: Path) -> str:
    """What changes as long as the holder lives. The file is opened for it: network disks keep what
    they said last of a file that isn't."""
    try:
        with path.open(encoding="utf-8") as file:
            return f"{os.fstat(file.fileno()).st_mtime_ns} {file.read()}"
    except FileNotFoundError:
        return ""


def _is_dead(sign: str) -> bool:
    """Whether a claim's process was one of this machine, and is gone."""
    try:
        owner = json.loads(sign.partition(" ")[2])
    except ValueError:
        return False  # just being written, or its holder died over it
    return owner["machine"] == _machine() and owner["began"] != _began(owner["pid"])


def _whose(sign: str) -> str:
    try:
        owner = json.loads(sign.partition(" ")[2])
    except ValueError:
        return "another process"
    return f"process {owner['pid']} on {owner['host']}"


def _machine() -> str:
    """Names what process numbers are of: this start of this machine, or a container in it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not a Linux
        return socket.gethostname()


def _began(pid: int) -> str:
    """When a process began; empty where there is none, or only what its parent hasn't buried."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
        state, *more = after_name.split()
        return "" if state in "ZX" else more[18]
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "alive"


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
