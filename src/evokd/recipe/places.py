"""A place in a recipe's tree of mappings and lists, such as corpus.train.0.limit."""

from __future__ import annotations

from typing import Any

from evokd.errors import InputError
from evokd.recipe.validation import element_names


def set_at(tree: dict[str, Any], key: str, value: Any, what: str) -> None:
    """Put a value at a place; mappings on the way there are made.

    Args:
        what: names it in complaints.

    Raises:
        InputError: there is no such place.
    """
    node: Any = tree
    *parents, last = key.split(".")
    for depth, part in enumerate(parents):
        place = _place(node, part, what)
        if isinstance(node, dict) and node.get(place) is None:
            node[place] = {}
        node = node[place]
        if not isinstance(node, (dict, list)):
            where = ".".join(parents[: depth + 1])
            raise InputError(f"{what}: {where} is {kind_of(node)}, it has no keys")
    node[_place(node, last, what)] = value


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    return "nothing" if value is None else f"a {type(value).__name__}"


def _place(node: dict[str, Any] | list[Any], part: str, what: str) -> Any:
    """A mapping's key as it is; in a list the position of an element, by number or by name."""
    if isinstance(node, dict):
        return next((key for key in node if str(key) == part), part)
    names = element_names(node)
    if part in names:
        return names.index(part)
    if part.isdigit() and int(part) < len(node):
        return int(part)
    accepted = ", ".join(str(n) for n in names if n) or f"0 to {len(node) - 1}"
    raise InputError(f"{what}: no element {part!r}; accepted: {accepted}")
