"""Where a run stands: what is done, what is at work, what is left."""

from __future__ import annotations

from pathlib import Path

from tabulate import tabulate

from evokd.progress import duration
from evokd.recipe.file import load_recipe_of
from evokd.rundir.claims import claimed
from evokd.rundir.files import read_json_lines
from evokd.rundir.integrity import STARTED
from evokd.rundir.lock import is_locked
from evokd.study.forecast import Forecast, together
from evokd.study.run import dry_run
from evokd.study.steps import Step

LAST = {"step": "step", "student_nll": "nll", "hard_share": "hard", "noevo_loss": "noevo loss"}
"""What of the last logged step of a training is shown."""


def status(root: Path) -> list[str]:
    """Lines about a run folder, or about each study of a grid.

    Raises:
        InputError: there is no recipe in it.
    """
    recipe = load_recipe_of(root)
    if recipe.grid:
        studies = [one.parent for one in sorted(root.glob("*/recipe.yaml"))]
        return [_summary(one, dry_run(load_recipe_of(one), one)) for one in studies]
    forecast = dry_run(recipe, root)
    left = [step for step in forecast.steps if step.action != "keep"]
    rows = [
        [name, _state(root, step), forecast.costs[step.name].words()]
        for name, step in together(left)
    ]
    return [_summary(root, forecast), *tabulate(rows, tablefmt="plain").splitlines()]


def _summary(root: Path, forecast: Forecast) -> str:
    done = sum(step.action == "keep" for step in forecast.steps)
    seconds = forecast.total().seconds
    state = (
        "at work"
        if is_locked(root) or claimed(root)
        else "finished"
        if done == len(forecast.steps)
        else "stopped"
    )
    parts = [state, f"{done} of {len(forecast.steps)} stages done"]
    parts += [f"about {duration(seconds)} of work left, as far as is known"] if seconds else []
    return f"{root}: {', '.join(parts)}"


def _state(root: Path, step: Step) -> str:
    folder = root / step.place
    if not (folder / STARTED).is_file():
        return "to be made" if step.action == "make" else f"to be made anew, {step.because}"
    last: dict[str, object] = {}
    for line in read_json_lines(folder / "metrics.jsonl"):
        last |= line
    return ", ".join(["begun", *(f"{LAST[key]} {last[key]}" for key in LAST if key in last)])
