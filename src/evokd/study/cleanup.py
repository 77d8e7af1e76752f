"""What in a run folder its recipe doesn't use."""

from __future__ import annotations

import shutil
from pathlib import Path

from evokd.recipe.file import load_recipe_of
from evokd.recipe.recipe import Recipe
from evokd.rundir.integrity import MANIFEST, STARTED
from evokd.rundir.lock import locked
from evokd.rundir.stage import KEPT
from evokd.study.run import dry_run


def unused(root: Path) -> dict[str, float]:
    """Place → MiB: what is kept of other settings, and stages and translations of others.

    Raises:
        InputError: there is no recipe, or its text isn't at hand and was never read.
    """
    recipe = load_recipe_of(root)
    if recipe.grid:
        studies = [folder.parent for folder in sorted(root.glob("*/recipe.yaml"))]
        return {f"{one.name}/{p}": mib for one in studies for p, mib in unused(one).items()}
    kept = {one.parent for name in (MANIFEST, STARTED) for one in (root / KEPT).rglob(name)}
    kept |= {one.parent for one in (root / KEPT).rglob("*.json") if not _within(one, kept)}
    found = sorted(kept) + sorted(_others(root, recipe))
    return {one.relative_to(root).as_posix(): _mib(one) for one in found}


def remove(root: Path, places: dict[str, float]) -> None:
    """Remove what `unused` found, and folders that are empty then."""
    with locked(root):
        for place in places:
            path = root / place
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            for parent in path.parents:
                if parent == root or any(parent.iterdir()):
                    break
                parent.rmdir()


def _others(root: Path, recipe: Recipe) -> set[Path]:
    """Finished stages, and records, in places that the recipe has no use for."""
    used = {root / step.place for step in dry_run(recipe, root).steps}
    used |= {path.with_suffix(".txt") for path in used}
    stages = {one.parent for name in (MANIFEST, STARTED) for one in root.rglob(name)}
    records = {*(root / "translations").rglob("*.*"), *(root / "analysis").glob("*.json")}
    there = {one for one in stages | records if not one.is_relative_to(root / KEPT)}
    cache = {one for one in there if one.is_relative_to(root / "cache")}
    return there - used - (cache if recipe.teacher.signal != "live" else set())


def _within(path: Path, folders: set[Path]) -> bool:
    return any(parent in folders for parent in path.parents)


def _mib(path: Path) -> float:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(one.stat().st_size for one in files if one.is_file()) / 2**20
