"""A study at each point of a recipe's grid, and the map of what they found."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean

from evokd import processes
from evokd.data.corpus import corpus_files
from evokd.errors import InputError
from evokd.processes import by_first
from evokd.recipe.file import dump_recipe, points
from evokd.recipe.recipe import Recipe
from evokd.report.formatting import duration
from evokd.report.map import has_grid
from evokd.report.map_page import build_map
from evokd.rundir.files import write_text
from evokd.rundir.integrity import MANIFEST
from evokd.rundir.lock import locked
from evokd.study.forecast import Forecast
from evokd.study.run import dry_run, run


def dry_run_grid(recipe: Recipe, folder: Path, store: Path | None = None) -> dict[str, Forecast]:
    """What `run_grid` would do, by point. What one point takes over from another that isn't made
    yet counts for both."""
    studies = points(recipe)
    return {
        name: dry_run(study, folder / name, [folder / other for other in studies], store)
        for name, study in studies.items()
    }


def run_grid(
    recipe: Recipe,
    folder: Path,
    log: Callable[[str], None] = print,
    store: Path | None = None,
) -> Path:
    """Run the studies into folder/POINT, from wherever they stand; the map is drawn after each.

    Args:
        store: a folder of stages that studies share: what is there isn't made again.

    Returns:
        The page with the map.

    Raises:
        InputError: something about the recipe, the files or the models doesn't fit.
    """
    processes.join(recipe.device)
    studies = by_first(lambda: check_grid(recipe, folder))
    times: list[float] = []
    with locked(folder) if processes.is_first() else nullcontext():
        earlier = [path.parent for path in sorted(folder.glob("*/recipe.yaml"))]
        off = by_first(lambda: [path.name for path in earlier if path.name not in studies])
        if off and processes.is_first():
            log(f"not on the map, since not in the grid: {', '.join(off)}, of earlier runs")
        by_first(lambda: write_text(folder / "recipe.yaml", dump_recipe(recipe)))
        for number, (name, study) in enumerate(studies.items()):
            left = (
                f", about {duration(fmean(times) * (len(studies) - number))} left" if times else ""
            )
            if processes.is_first():
                log(f"grid point {number + 1} of {len(studies)}: {name}{left}")
            began = time.perf_counter()
            run(study, folder / name, log, siblings_of(folder, studies, name), store)
            times.append(time.perf_counter() - began)
            page = by_first(lambda: build_map(folder))
    return page


def check_grid(recipe: Recipe, folder: Path) -> dict[str, Recipe]:
    """The studies of a grid by their points, before any is run.

    Raises:
        InputError: the folder is another study's, or files of one aren't there.
    """
    studies = points(recipe)
    if (folder / "corpus" / MANIFEST).exists() and not has_grid(folder):
        raise InputError(f"{folder} holds a study without a grid; name another folder with -o")
    for name, study in studies.items():
        try:
            corpus_files(study.corpus, study.directions)
        except InputError as error:
            raise InputError(f"grid point {name}: {error}") from None
    return studies


def siblings_of(folder: Path, studies: Mapping[str, Recipe], point: str) -> list[Path]:
    """Of a point, the folders of the others, those of earlier grids last."""
    earlier = sorted(path.parent.name for path in folder.glob("*/recipe.yaml"))
    return [folder / name for name in dict.fromkeys([*studies, *earlier]) if name != point]
