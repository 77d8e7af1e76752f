"""The recipes that come with the package, by name: demo, multi30k, regimes/phrasebook."""

from __future__ import annotations

from pathlib import Path

from evokd.errors import InputError


def shipped_recipes() -> dict[str, Path]:
    """Name → file, from a checkout or from an installed wheel."""
    package = Path(__file__).parent.parent
    for folder in (package / "recipes", package.parent.parent / "recipes"):
        if (folder / "demo.yaml").exists():
            paths = sorted(folder.rglob("*.yaml"))
            return {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}
    return {}


def shipped_recipe(name: str) -> Path:
    """The file of a recipe that comes with the package.

    Raises:
        InputError: there is none of that name.
    """
    recipes = shipped_recipes()
    if name not in recipes:
        raise InputError(
            f"no recipe {name!r} comes with evokd; accepted: {', '.join(recipes) or 'none here'}"
        )
    return recipes[name]


def described(path: Path) -> str:
    """What the comment at the beginning of a recipe says."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#") or line.lstrip("# ").startswith(("evokd ", "pip ")):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)
