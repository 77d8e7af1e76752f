"""Disks that are full or can only be read, clocks that go back, two runs in one folder, and each
file of a finished run damaged."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from tiny_study import differing, outcome
from trials import BAD_INPUT, Child, Ending, Tally, run_evokd

from evokd.cli import main as evokd_main
from evokd.rundir.verify import verify

FAILED = 1
"""Exit code of a run that failed for a reason outside its input."""
DAY = 86_400
HALF_DONE = 3
"""Seconds after which a run has made something and not all."""


def try_full_disks(count: int, seed: int, recipe: Path, reference: Path, folder: Path) -> Tally:
    """Runs on disks of random sizes, all too small, which are then made large enough.

    The disk is a real one in memory where this process may mount one; elsewhere a limit on the size
    of files, which makes writing fail in the middle all the same.
    """
    tally, chance = Tally("disk full"), random.Random(f"{seed}:disks")
    whole, disk = outcome(reference), folder / "disk"
    size = sum(path.stat().st_size for path in reference.rglob("*") if path.is_file())
    large = max(path.stat().st_size for path in reference.rglob("*") if path.is_file())
    ways = set()
    for number in range(count):
        kib = int(chance.uniform(0.02, 0.9) * size) >> 10
        with _disk(disk, kib) as mounts:
            run = disk / "run"
            ways.add("disks in memory" if mounts else "limits on the size of files")
            limit = None if mounts else int(chance.uniform(0.02, 0.9) * large)
            ending = run_evokd(["run", recipe, "-o", run], folder, 120, file_size=limit)
            problem = _stopped(ending, ("No space left", "File too large", "run folder"))
            if mounts:
                _mount("remount,size=1g", disk)
            after = _goes_on(recipe, run, folder, whole)
            problem = "; ".join(filter(None, [problem, after])) or None
        where = f"seed {seed}, disk {number}, {kib} KiB"
        tally.count(None if problem is None else f"{where}: {problem}")
    tally.notes = sorted(ways)
    return tally


def try_read_only(count: int, recipe: Path, reference: Path, folder: Path) -> Tally:
    """Runs that find a folder that can only be read, empty or half done."""
    tally, whole, disk = Tally("folder that can only be read"), outcome(reference), folder / "disk"
    for half_done in (True, False)[:count]:
        with _disk(disk, 1 << 20) as mounts:
            if not mounts:
                tally.notes = ["not tried: this process may not mount a disk"]
                return tally
            run = disk / "run"
            if half_done:
                run_evokd(["run", recipe, "-o", run], folder, HALF_DONE)
            _mount("remount,ro", disk)
            before = sorted(disk.rglob("*"))
            ending = run_evokd(["run", recipe, "-o", run], folder)
            problem = _stopped(ending, ("Read-only",))
            if problem is None and sorted(disk.rglob("*")) != before:
                problem = "something was written"
            _mount("remount,rw", disk)
            problem = problem or _goes_on(recipe, run, folder, whole)
        tally.count(None if problem is None else f"half done: {half_done}: {problem}")
    return tally


def try_clocks(count: int, recipe: Path, reference: Path, seconds: float, folder: Path) -> Tally:
    """Runs that are killed, and go on in what seems to be an earlier or a much later time."""
    tally, whole = Tally("clock turned back or forward"), outcome(reference)
    for days, share in list(product((-400, -1, 400), (0.3, 0.6)))[:count]:
        run = folder / "clock"

        def later(run: Path = run, days: int = days) -> int:
            now = time.time
            time.time = lambda: now() + days * DAY
            return evokd_main(["run", str(recipe), "-o", str(run)])

        run_evokd(["run", recipe, "-o", run], folder, share * seconds)
        for path in run.rglob("*"):  # as if written before the clock was set
            moment = path.stat().st_mtime - days * DAY
            os.utime(path, (moment, moment))
        ending = Child(later, folder).wait(120)
        problem = ending.breach((0,)) or _compare(run, whole)
        tally.count(None if problem is None else f"{days} days, at {share:g}: {problem}")
        shutil.rmtree(run)
    return tally


def try_two_at_once(count: int, recipe: Path, reference: Path, folder: Path) -> Tally:
    """Two runs in one folder: the second is refused, the first isn't disturbed."""
    tally, whole, run = Tally("two runs in one folder"), outcome(reference), folder / "both"
    for wait in (2.0, 0.5, 4.0)[:count]:
        first = Child(lambda: evokd_main(["run", str(recipe), "-o", str(run)]), folder)
        time.sleep(wait)
        second = run_evokd(["run", recipe, "-o", run], folder)
        ending = first.wait(120)
        problem = ending.breach((0,)) or _compare(run, whole)
        if second.code != BAD_INPUT or "another run is at work" not in second.said:
            problem = f"the second run wasn't refused: {second.code}, {second.said[-300:]}"
        tally.count(None if problem is None else f"after {wait} s: {problem}")
        shutil.rmtree(run)
    return tally


def try_damage(count: int, seed: int, reference: Path, folder: Path) -> Tally:
    """Each file of a finished run with one bit flipped, and cut: does `evokd verify` name it?"""
    tally, chance = Tally("file of a finished run flipped or cut"), random.Random(f"{seed}:damage")
    run = shutil.copytree(reference, folder / "damaged")
    files = [path for path in sorted(run.rglob("*")) if path.is_file() and path.stat().st_size]
    for path in sorted(chance.sample(files, min(count, len(files)))):
        whole, name = path.read_bytes(), path.relative_to(run).as_posix()
        place, bit = chance.randrange(len(whole)), 1 << chance.randrange(8)
        flipped = whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :]
        for kind, data in {"flipped": flipped, "cut": whole[:place]}.items():
            path.write_bytes(data)
            known = name.removesuffix("manifest.json")
            found = any(line.startswith(known) for line in verify(run))
            tally.count(None if found else f"{name} {kind} at byte {place}: verify says nothing")
        path.write_bytes(whole)
    if verify(run):
        tally.failures.append(f"what is whole is said to be damaged: {verify(run)[:3]}")
    shutil.rmtree(run)
    return tally


def _stopped(ending: Ending, reasons: tuple[str, ...]) -> str | None:
    """What is wrong with how a run ended that couldn't write; None if it said why."""
    problem = ending.breach((FAILED, BAD_INPUT))
    if problem is None and not any(reason in ending.said for reason in reasons):
        return f"the reason isn't said: {ending.said[-300:]}"
    return problem


def _goes_on(recipe: Path, run: Path, folder: Path, whole: dict[str, bytes]) -> str | None:
    """What is wrong after the same command once more, with nothing in its way."""
    ending = run_evokd(["run", recipe, "-o", run], folder, 120)
    return ending.breach((0,)) or _compare(run, whole)


def _compare(run: Path, whole: dict[str, bytes]) -> str | None:
    names = [*differing(run, whole), *verify(run)]
    return f"not as undisturbed: {', '.join(names[:5])}" if names else None


@contextlib.contextmanager
def _disk(folder: Path, kib: int) -> Iterator[bool]:
    """A folder that is a disk of so many KiB, and whether it is: only some may mount one."""
    folder.mkdir(exist_ok=True)
    mounted = _mount(f"size={kib}k", folder, "-t", "tmpfs")
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)
        shutil.rmtree(folder)


def _mount(options: str, folder: Path, *kind: str) -> bool:
    command = ["mount", *kind, "-o", options, *(["evokd-faults"] if kind else []), folder]
    if shutil.which("mount") is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
