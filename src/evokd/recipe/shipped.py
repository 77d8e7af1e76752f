"""The recipes that come with the package."""

from __future__ import annotations

from pathlib import Path

from evokd.errors import InputError


def shipped_recipe(name: str) -> Path:
    """A recipe that comes with the package, from a checkout or from an installed wheel."""
    here = Path(__file__).parent.parent  # of the package
    for folder in (here / "recipes", here.parent.parent / "recipes"):
        if (folder / name).exists():
            return folder / name
    raise InputError(f"the recipe {name} is missing from this installation of evokd")
