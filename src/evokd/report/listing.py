"""The runs in a folder, a line each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from tabulate import tabulate

from evokd.errors import InputError
from evokd.recipe.file import load_recipe_of
from evokd.recipe.recipe import Recipe
from evokd.report.formatting import DASH, arrow, decimal
from evokd.report.map import has_grid
from evokd.report.results import Results
from evokd.rundir.claims import claimed
from evokd.rundir.lock import is_locked

DEPTH = 3
"""So far below the folder is looked for runs."""
HEADINGS = ("run", "what", "directions", "students", "state", "when", "best student, BLEU")
MARKS = ("recipe.yaml", "results.json")
"""A run has one of these."""


def listing(folder: Path) -> str:
    """A table: what each run is, where it stands, and the best BLEU of its students.

    Raises:
        InputError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} not found; give the folder that runs are in")
    runs = [folder] if _is_run(folder) else list(_below(folder, DEPTH))
    if not runs:
        raise InputError(f"no run in {folder}; evokd run RECIPE writes one into runs/")
    rows = [_row(run, folder) for run in runs]
    return tabulate(rows, HEADINGS, tablefmt="simple", disable_numparse=True)


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in MARKS)


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """A run is one whole: what lies in it, the points of a grid say, is its own affair."""
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        if _is_run(path):
            yield path
        elif depth > 1:
            yield from _below(path, depth - 1)


def _row(run: Path, folder: Path) -> list[str]:
    where = run.relative_to(folder).as_posix() if run != folder else run.name
    try:
        recipe = load_recipe_of(run) if (run / "recipe.yaml").is_file() else None
        results = Results.read(run) if (run / "results.json").is_file() else None
    except InputError as error:
        return [where, DASH, DASH, DASH, f"unreadable: {error}"[:60], _when(run), DASH]
    name = recipe.name if recipe else "scores" if results and not results.runs else "compared"
    directions = recipe.directions if recipe else results.directions if results else ()
    best = results and results.best(results.students)
    return [
        where,
        name,
        ", ".join(map(arrow, directions)),
        _students(recipe) if recipe else f"{len(results.systems) if results else 0} systems",
        _state(run, recipe),
        _when(run),
        f"{best} {decimal(results.bleu(best), 2)}" if results and best else DASH,
    ]


def _students(recipe: Recipe) -> str:
    count, seeds = len(recipe.students()), len(recipe.seeds)
    return f"{count}, {seeds} seeds" if seeds > 1 else str(count)


def _state(run: Path, recipe: Recipe | None) -> str:
    if is_locked(run) or claimed(run):
        return "at work"
    if has_grid(run) if recipe is None else bool(recipe.grid):
        points = [one.parent for one in run.glob("*/recipe.yaml")]
        done = sum((point / "results.json").is_file() for point in points)
        return f"grid, {done} of {len(points)} points finished"
    return "finished" if (run / "results.json").is_file() else "stopped"


def _when(run: Path) -> str:
    """When the newest of its own files was written."""
    times = [entry.stat().st_mtime for entry in os.scandir(run) if entry.is_file()]
    return f"{datetime.fromtimestamp(max(times, default=0), timezone.utc):%Y-%m-%d %H:%M}"
