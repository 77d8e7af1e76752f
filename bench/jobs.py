"""Studies made by many processes, which are killed at random moments.

    python bench/jobs.py --on jobs --kills 10 --seed 1
    python bench/jobs.py --on ray --kills 10 --seed 1        # a Ray cluster of two workers

The tiny study of bench/faults.py is made once by one process. Then it is made by two workers at a
time, and one of them, or the driver, is killed (SIGKILL) again and again; what the driver doesn't
begin again by itself, the same command does. It has to end with the same bytes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from kills import reference_run
from measuring import table
from tiny_study import SMALLER, TREE, differing, outcome
from trials import run_evokd, warm_up

DRIVER = 0.2
"""Share of the kills that hit the driver."""
WORKERS = 2
RAY = """
import sys
import ray
ray.init(num_cpus=int(sys.argv.pop(1)), include_dashboard=False)
from evokd.cli import main
sys.exit(main(sys.argv[1:]))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--on", choices=["jobs", "ray"], default="jobs")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--every", type=float, default=15.0, help="seconds between two, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--smaller", action="store_true", help="a study of two students")
    args = parser.parse_args()
    warm_up()
    chance, hit, failures = random.Random(args.seed), Counter[str](), []
    with tempfile.TemporaryDirectory(prefix="evokd-jobs-") as name:
        folder = Path(name)
        recipe, reference, seconds = reference_run(folder, SMALLER if args.smaller else TREE)
        whole, completions, run = outcome(reference), 0, folder / "many"
        while hit.total() < args.kills or run.exists():
            began, driver = time.perf_counter(), _driver(args.on, recipe, run)
            while driver.poll() is None:
                try:
                    driver.wait(chance.uniform(0, args.every))
                except subprocess.TimeoutExpired:
                    if hit.total() < args.kills:
                        hit.update(_kill(driver, run, chance))
            if driver.returncode == -signal.SIGKILL:
                continue  # the same command again
            took = time.perf_counter() - began
            said = (folder / "said.txt").read_text(encoding="utf-8", errors="replace")
            if driver.returncode:
                failures.append(f"exit code {driver.returncode}: {said[-500:]}")
            elif names := differing(run, whole):
                failures.append(f"differing: {', '.join(names[:5])}")
            elif (verified := run_evokd(["verify", run], folder)).code:
                failures.append(f"verify: {verified.said[-500:]}")
            completions += 1
            print(f"{hit.total()} kills, the last start took {took:.0f} s", file=sys.stderr)
            shutil.rmtree(run)
    print(f"\n{datetime.date.today()}, {args.on}, seed {args.seed}\n")
    rows = [(place, count) for place, count in sorted(hit.items())]
    print(table(("killed while it made", "times"), rows))
    print(f"\n{completions} studies got through, {len(failures)} of them not as one process's")
    print(f"one process took {seconds:.0f} s")
    print("".join(f"FAILED: {failure}\n" for failure in failures), end="")
    return int(bool(failures))


def _driver(on: str, recipe: Path, run: Path) -> subprocess.Popen[bytes]:
    command: list[object] = ["run", recipe, "-o", run]
    if on == "jobs":
        command = [sys.executable, "-m", "evokd", *command, "--jobs", WORKERS]
    else:
        command = [sys.executable, "-c", RAY, WORKERS, *command, "--on", "ray"]
    with (run.parent / "said.txt").open("wb") as said:
        return subprocess.Popen([str(word) for word in command], stdout=said, stderr=said)


def _kill(driver: subprocess.Popen[bytes], run: Path, chance: random.Random) -> list[str]:
    """Kill the driver or whoever is at work; what that was, or nothing if it was done first."""
    if chance.random() < DRIVER:
        driver.kill()
        return ["(the driver)"]
    while not (claims := sorted((run / ".claims").glob("*.*"))):
        time.sleep(0.05)
        if driver.poll() is not None:
            return []
    one = chance.choice(claims)
    try:
        os.kill(json.loads(one.read_text(encoding="utf-8"))["pid"], signal.SIGKILL)
    except (OSError, ValueError):  # done meanwhile
        return []
    return [one.name.rpartition(".")[0].replace("~", "/")]


if __name__ == "__main__":
    sys.exit(main())
