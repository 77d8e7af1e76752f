"""What in a run folder its recipe doesn't use."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from evokd.errors import InputError
from evokd.recipe.file import load_recipe_of
from evokd.recipe.recipe import Recipe
from evokd.rundir.claims import claimed
from evokd.rundir.integrity import MANIFEST, STARTED, files_in
from evokd.rundir.lock import locked
from evokd.rundir.stage import KEPT
from evokd.study.run import dry_run


def unused(root: Path) -> dict[str, float]:
    """Place → MiB: what is kept of other settings, and stages and translations of others; of a
    store, the stages whose files no run has in common with it.

    Raises:
        InputError: there is no recipe, or its text isn't at hand and was never read.
    """
    if is_store(root):
        stages = sorted(manifest.parent for manifest in root.glob(f"*/*/{MANIFEST}"))
        found = [one for one in stages if all(_links(path) == 1 for path in files_in(one))]
        return {one.relative_to(root).as_posix(): _mib(one) for one in found}
    recipe = load_recipe_of(root)
    if recipe.grid:
        studies = [folder.parent for folder in sorted(root.glob("*/recipe.yaml"))]
        return {f"{one.name}/{p}": mib for one in studies for p, mib in unused(one).items()}
    kept = {one.parent for name in (MANIFEST, STARTED) for one in (root / KEPT).rglob(name)}
    kept |= {one.parent for one in (root / KEPT).rglob("*.json") if not _within(one, kept)}
    found = sorted(kept) + sorted(_others(root, recipe))
    return {one.relative_to(root).as_posix(): _mib(one) for one in found}


def is_store(root: Path) -> bool:
    """Whether a folder is what --store names: stages by kind and fingerprint, and no recipe."""
    places = root.glob(f"*/*/{MANIFEST}")
    named = (re.fullmatch(r"[0-9a-f]{16}(\.damaged)?", place.parent.name) for place in places)
    return not (root / "recipe.yaml").exists() and any(named)


def remove(root: Path, places: dict[str, float]) -> None:
    """Remove what `unused` found, and folders that are empty then.

    Raises:
        InputError: a run is at work there.
    """
    with locked(root):
        for run in {root, *(root / place.split("/")[0] for place in places)}:  # a grid's points
            if at_work := claimed(run):
                raise InputError(f"{run}: {', '.join(at_work)} is being made; wait for it")
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


def _links(path: Path) -> int:
    return path.stat().st_nlink


def _mib(path: Path) -> float:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(one.stat().st_size for one in files if one.is_file()) / 2**20
