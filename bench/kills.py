"""Runs that are killed at random moments: does each end as one that nobody disturbed?"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from tiny_study import TREE, at_work, differing, outcome, write_recipe
from trials import Child, Tally, run_evokd

from evokd.cli import main as evokd_main

REACH = 0.4
"""Longest time until a kill, as a share of what an undisturbed run takes: so all stages are hit."""


def reference_run(folder: Path, tree: dict[str, Any] = TREE) -> tuple[Path, Path, float]:
    """An undisturbed run: its recipe, its folder, and the seconds that it took."""
    recipe, run = write_recipe(folder / "tiny.yaml", tree), folder / "reference"
    ending = run_evokd(["run", recipe, "-o", run], folder, 600)
    if ending.code != 0:
        raise RuntimeError(f"the reference run failed:\n{ending.said}")
    return recipe, run, ending.seconds


def try_kills(
    count: int, seed: int, recipe: Path, reference: Path, seconds: float, folder: Path
) -> Tally:
    """Kill runs of one recipe so many times; whenever one gets through, it is compared with the
    reference and a fresh folder begun."""
    tally, chance = Tally("killed at a random moment (SIGKILL)"), random.Random(seed)
    whole, hit = outcome(reference), Counter[str]()
    run, completions, history = folder / "killed", 0, []
    while tally.tried < count or history:
        moment = chance.uniform(0, REACH * seconds) if tally.tried < count else 600
        child = Child(lambda: evokd_main(["run", str(recipe), "-o", str(run)]), folder)
        ending = child.wait(moment)
        if ending.signal is not None:
            hit[at_work(run)] += 1
            history.append(f"{moment:.2f}")
            tally.count(None)
            continue
        where = f"seed {seed}, after kills at {', '.join(history) or 'no moment'} s"
        if ending.code != 0:
            tally.failures.append(f"{where}: {ending.breach((0,))}")
        else:
            completions += 1
            names = differing(run, whole)
            if names:
                tally.failures.append(f"{where}: differing {', '.join(names[:5])}")
            verified = run_evokd(["verify", run], folder)
            if verified.code != 0:
                tally.failures.append(f"{where}: verify says {verified.said.strip()[:300]}")
        history = []
        shutil.rmtree(run)
    hits = ", ".join(f"{place} {number}" for place, number in sorted(hit.items()))
    tally.notes = [f"{completions} runs got through", f"kills hit: {hits}"]
    return tally
