"""What is wrong with a recipe, in words for the one who wrote it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, get_args

from pydantic import BeforeValidator, ValidationError, WrapValidator

from evokd.recipe.code import ADDRESS_FORM, is_address
from evokd.recipe.section import Section

SHAPES = {
    "model_type": "a mapping of keys is accepted",
    "dict_type": "a mapping of keys is accepted",
    "tuple_type": "a list is accepted",
}
"""What is accepted, by pydantic's kind of error."""


def check_known(what: str, value: Any, known: Iterable[str], where: str = "") -> Any:
    """The value. Raises ValueError: `where`, what was found, what is accepted, and the nearest."""
    known = list(known)
    if value not in known:
        raise ValueError(where + _unknown(what, value, known))
    return value


def one_of(
    what: str, known: Callable[[], Iterable[str]], add: Callable[[str], None] | None = None
) -> BeforeValidator:
    """For a key that names a row of a table; plugins may have rows of their own.

    Args:
        add: makes a row of what stands at `package.module:name`, where such an address will do.
    """

    def check(value: Any) -> Any:
        if add is not None and is_address(value) and value not in known():
            add(value)
        return check_known(what, value, [*known(), *([ADDRESS_FORM] if add is not None else [])])

    return BeforeValidator(check)


def one_kind_of(accepted: Callable[[], str], section: type[Section] | None = None) -> WrapValidator:
    """For a key that takes values of several kinds: one complaint, not one for each kind.

    Args:
        accepted: what is, in words.
        section: the kind that is a mapping; its own complaints say more.
    """

    def check(value: Any, validate: Callable[[Any], Any]) -> Any:
        if section is not None and isinstance(value, dict):
            return section.model_validate(value)
        try:
            return validate(value)
        except ValidationError:
            raise ValueError(f"found {_shown(value)}; {accepted()} is accepted") from None

    return WrapValidator(check)


def explain(error: ValidationError, model: type[Section], tree: Any = None) -> list[str]:
    """Pydantic's complaints as one line each: where, what was found, what is accepted.

    `tree` is what was checked: elements of its lists that have names go by them.
    """
    lines = []
    problems = error.errors()
    # A list whose only element is wrong counts as empty as well: that says nothing new.
    parents = {p["loc"][:depth] for p in problems for depth in range(len(p["loc"]))}
    for problem in problems:
        kind, found = problem["type"], problem["input"]
        place = [part for part in problem["loc"] if part != "pair_weights"]
        if kind == "too_short" and problem["loc"] in parents:
            continue
        if kind == "value_error":
            text = str(problem["ctx"]["error"])
        elif kind == "extra_forbidden":
            text = _unknown("key", str(place[-1]), _keys_at(model, place[:-1]))
        elif kind == "missing":
            text = "this key is needed and isn't there"
        elif kind == "too_short":
            text = "found nothing; at least one is needed"
        else:
            accepted = SHAPES.get(kind) or problem["msg"][0].lower() + problem["msg"][1:]
            text = f"found {_shown(found)}; {accepted}"
            if found is None and kind in ("model_type", "dict_type"):
                text += ", {} if it is empty"
            if isinstance(found, bool) and kind not in SHAPES:
                text += "; put it in quotes: YAML takes a bare no, yes, on or off for a truth"
        where = ".".join(_named(place, tree))
        lines.append(f"{where}: {text}" if where else text)
    return lines


def element_names(items: Iterable[Any]) -> list[Any]:
    """What the elements of a list in a recipe may be called by, beside their numbers."""
    return [
        item.get("name", item.get("objective")) if isinstance(item, dict) else item
        for item in items
    ]


def _named(place: Iterable[int | str], tree: Any) -> list[str]:
    """The place with an element's name where that says which one is meant, else its number."""
    named = []
    for part in place:
        name: Any = None
        if isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            names = element_names(tree)
            name = names[part] if names.count(names[part]) == 1 else None
            tree = tree[part]
        else:
            tree = tree.get(part) if isinstance(tree, dict) else None
        named.append(name if isinstance(name, str) else str(part))
    return named


def _shown(found: Any) -> str:
    """A value as its user typed it, or nearly so."""
    return "null" if found is None else repr(found)


def _keys_at(model: type[Section], place: Sequence[int | str]) -> Iterable[str]:
    """The keys accepted at a place of the recipe."""
    for part in place:
        model = _section_in(model.known_keys().get(str(part))) or model
    return model.known_keys()


def _section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    inner = (_section_in(argument) for argument in get_args(annotation))
    return next((section for section in inner if section is not None), None)


def _unknown(what: str, value: Any, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(value), known := list(known), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {what} {value!r}; {hint}accepted: {', '.join(known)}"
