"""A recipe's way from a YAML file, with overrides, to settings, and back."""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from yaml.composer import ComposerError

from evokd.errors import InputError
from evokd.recipe.code import import_own
from evokd.recipe.places import kind_of, set_at
from evokd.recipe.recipe import Recipe
from evokd.recipe.section import as_list, as_mappings
from evokd.recipe.shipped import shipped_recipes
from evokd.recipe.sweep import expand, without_swept
from evokd.recipe.validation import explain

EXTRAS = "evokd_extras"
"""What is in the wheel beside evokd; a plugin like others."""
MOST_VALUES, DEEPEST = 100_000, 50
"""Of a recipe, its aliases spelled out."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping; YAML's own takes the later one."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        first: dict[str, yaml.ScalarNode] = {}
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in (key for key in keys if not key.tag.endswith(":merge")):
            earlier = first.setdefault(key.value, key)
            if earlier is not key:
                raise ComposerError(
                    f"found the key {key.value!r} twice in one mapping",
                    earlier.start_mark,
                    "each is accepted once; leave this one out or give it another name",
                    key.start_mark,
                )
        return node


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, lay `key=value` overrides over it and check all of it.

    Args:
        path: a file, or the name of a recipe that comes with evokd.

    Raises:
        InputError: naming each key that is wrong, what was found and what is accepted.
    """
    path = shipped_recipes().get(str(path), path) if not Path(path).exists() else path
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = difflib.get_close_matches(str(path), shipped_recipes(), n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(
            f"recipe {path} not found; {hint}give the path of a YAML file, or the name of one that "
            f"comes with evokd: {', '.join(shipped_recipes())}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"recipe {path} can't be read: {error}") from None
    try:
        tree = _parsed(text)
    except yaml.YAMLError as error:
        said = str(error).replace('"<unicode string>"', str(path))
        raise InputError(f"recipe {path} is no valid YAML: {said}") from None
    if not isinstance(tree, dict):
        raise InputError(f"recipe {path} holds {kind_of(tree)}; a mapping of keys is accepted")
    return check_recipe(tree, overrides, origin=str(path))


def load_recipe_of(run: Path) -> Recipe:
    """The recipe of the last run in a folder.

    Raises:
        InputError: there is none.
    """
    if not (run / "recipe.yaml").is_file():
        raise InputError(f"{run / 'recipe.yaml'} not found; give the folder of a run")
    return load_recipe(run / "recipe.yaml")


def check_recipe(
    tree: dict[str, Any], overrides: Sequence[str] = (), origin: str = "recipe"
) -> Recipe:
    """A recipe from plain dicts and lists; see `load_recipe`."""
    tree = _spelled_out(tree)
    for override in overrides:
        _apply_override(tree, override)
        tree = _spelled_out(tree)
    _import_plugins(tree.get("plugins"), origin)
    tree = expand(tree, origin)
    tree.setdefault("name", Path(origin).stem)
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError as error:
        lines = [f"{origin} has errors:", *explain(error, Recipe, tree)]
        raise InputError("\n  ".join(lines)) from None
    if recipe.grid:
        points(recipe)
    return recipe


def points(recipe: Recipe) -> dict[str, Recipe]:
    """The study at each point of a recipe's grid, by its name: "weak.clean".

    Raises:
        InputError: the settings of a place don't fit the recipe.
    """
    tree = without_swept(recipe.model_dump(mode="json", exclude={"grid"}))
    studies = {}
    for choice in product(*(places.items() for places in recipe.grid.values())):
        name, own = ".".join(place for place, _ in choice), copy.deepcopy(tree)
        for _, settings in choice:
            for key, value in settings.items():
                if key.split(".")[0] == "grid":
                    raise InputError(f"grid point {name}: found {key}; no grid is accepted in it")
                set_at(own, key, copy.deepcopy(value), f"grid point {name}: {key}")
        studies[name] = check_recipe(own, origin=f"grid point {name}")
    return studies


def first_point(recipe: Recipe) -> tuple[str, list[str]]:
    """The name of the first point of a recipe's grid, and its settings as overrides."""
    places = [next(iter(places.items())) for places in recipe.grid.values()]
    overrides = [f"{key}={json.dumps(value)}" for _, own in places for key, value in own.items()]
    return ".".join(name for name, _ in places), overrides


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe, every default written out, as YAML that `load_recipe` takes."""
    return recipe_text(recipe.model_dump(mode="json"))


def recipe_text(tree: Mapping[str, Any]) -> str:
    """A recipe's plain dicts and lists as YAML."""
    return yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True, width=100)


def _parsed(text: str) -> Any:
    """The tree that YAML stands for.

    Raises:
        yaml.YAMLError: it isn't YAML; a value isn't of the type that it looks like (2001-99-99);
            or aliases make more of it than anybody types, or something that holds itself.
    """
    try:
        tree = yaml.load(text, _Loader)
    except yaml.YAMLError:
        raise
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except Exception as error:  # yaml lets pass what its constructors of values raise
        raise yaml.YAMLError(f"a value isn't what it looks like ({error}); quote it") from None
    values, waiting = 0, [(tree, 0)]
    while waiting:
        value, depth = waiting.pop()
        values += 1
        if values > MOST_VALUES or depth > DEEPEST:
            raise yaml.YAMLError(
                f"it holds more than {MOST_VALUES} values, or some that are nested more than "
                f"{DEEPEST} deep; check its aliases (*name)"
            )
        if isinstance(value, dict):
            waiting += [(one, depth + 1) for one in (*value, *value.values())]
        elif isinstance(value, (list, tuple, set)):
            waiting += [(one, depth + 1) for one in value]
    return tree


def _spelled_out(tree: dict[str, Any]) -> dict[str, Any]:
    """A copy in which every short form is a mapping, so that overrides find its keys."""
    tree = copy.deepcopy(tree)
    if "methods" in tree:
        tree["methods"] = as_mappings(tree["methods"], "objective")
    if tree.get("sweep"):
        tree["sweep"] = as_list(tree["sweep"])
    corpus = tree.get("corpus")
    for part in ("train", "valid", "test"):
        if isinstance(corpus, dict) and part in corpus:
            corpus[part] = as_mappings(corpus[part], "path")
    return tree


def _import_plugins(names: Any, origin: str) -> None:
    """Import what registers rows of its own in the tables that a recipe is checked against."""
    extras = [EXTRAS] if find_spec(EXTRAS) else []
    for name in (*extras, *(as_list(names) if names else ())):
        try:
            import_own(str(name))
        except ValueError as error:
            raise InputError(f"{origin}: plugins: {error}") from None


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"{override!r} is no override; type key=value, e.g. training.epochs=1")
    try:
        value = _parsed(text)
    except yaml.YAMLError as error:
        if text.lstrip().startswith(("{", "[")):
            raise InputError(
                f"override {override!r} is no valid YAML: {error}\n"
                "(a text that starts with a bracket is accepted in quotes)"
            ) from None
        value = text
    set_at(tree, key, value, f"override {override!r}")
