"""What is wrong with a recipe, in words for the one who wrote it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import ValidationError

from evokd.recipe.section import Section

UNIONS = {
    "beta": (
        ("float", "constrained-float", "BetaSchedule", "constrained-str", "literal['difficulty']"),
        "a number from 0 to 1, a word or {start: 0.5, end: 0} is accepted",
    ),
    "gamma": (
        ("float", "GammaRule"),
        "a finite number or {rule: running_quantile} is accepted",
    ),
    "layers": (("int", "tuple[int, ...]"), "a number or a list such as [0, 3, 7] is accepted"),
}
"""Keys that take values of several kinds: what pydantic calls those in the place of an error, and
what is accepted."""
SHAPES = {
    "model_type": "a mapping of keys is accepted",
    "dict_type": "a mapping of keys is accepted",
    "tuple_type": "a list is accepted",
}
"""What is accepted, by pydantic's kind of error."""


def explain(
    error: ValidationError, model: type[Section], prefix: str = "", tree: Any = None
) -> str:
    """Pydantic's complaints as one line each: where, what was found, what is accepted.

    `tree` is what was checked: elements of its lists that have names go by them.
    """
    lines = []
    problems = error.errors()
    # A list whose only element is wrong counts as empty as well: that says nothing new.
    parents = {p["loc"][:depth] for p in problems for depth in range(len(p["loc"]))}
    for problem in problems:
        place = _without_kinds(problem["loc"])
        where = prefix + ".".join(_named(place, tree))
        if (
            len(place) < len(problem["loc"])
            and problem["loc"][-1] in UNIONS.get(place[-1], ((),))[0]
        ):
            # One complaint for each kind, unless its section was meant and has its own ones.
            if not isinstance(problem["input"], dict):
                lines.append(f"  {where}: found {problem['input']!r}; {UNIONS[place[-1]][1]}")
            continue
        if problem["type"] == "extra_forbidden":
            known = _keys_at(model, problem["loc"][:-1])
            lines.append(f"  {where}: " + unknown("key", str(problem["loc"][-1]), known))
        elif problem["type"] == "missing":
            lines.append(f"  {where}: this key is needed and isn't there")
        elif problem["type"] == "too_short":
            if problem["loc"] not in parents:
                lines.append(f"  {where}: found nothing; at least one is needed")
        elif problem["type"] in SHAPES:
            lines.append(f"  {where}: found {problem['input']!r}; {SHAPES[problem['type']]}")
        elif problem["type"] == "value_error":
            text = problem["msg"].removeprefix("Value error, ")
            lines.append(
                text if text.startswith("  ") else f"  {where}: {text}".replace(" : ", " ")
            )
        else:
            message = problem["msg"][0].lower() + problem["msg"][1:]
            if isinstance(problem["input"], bool):
                message += "; put it in quotes: YAML takes a bare no, yes, on or off for a truth"
            lines.append(f"  {where}: found {problem['input']!r}; {message}")
    return "\n".join(dict.fromkeys(lines))


def _without_kinds(location: Sequence[int | str]) -> list[str]:
    """A place in the recipe, without pydantic's names for the kinds of a value."""
    place: list[str] = []
    for part in location:
        if not (place and part in UNIONS.get(place[-1], ((),))[0]):
            place.append(str(part))
    return place


def _named(place: Iterable[str], tree: Any) -> list[str]:
    """The place with an element's name where that says which one is meant, else its number."""
    named = []
    for part in place:
        if isinstance(tree, list) and part.isdigit() and int(part) < len(tree):
            names = element_names(tree)
            name, tree = names[int(part)], tree[int(part)]
            named.append(name if isinstance(name, str) and names.count(name) == 1 else part)
        else:
            tree = tree.get(part) if isinstance(tree, dict) else None
            named.append(part)
    return named


def element_names(items: Iterable[Any]) -> list[Any]:
    """What the elements of a list in a recipe may be called by, beside their numbers."""
    return [
        item.get("name", item.get("objective")) if isinstance(item, dict) else item
        for item in items
    ]


def _keys_at(model: type[Section], location: Iterable[int | str]) -> list[str]:
    """The keys accepted at a place of the recipe."""
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            inner = _section_in(model.model_fields[part].annotation)
            if inner is not None:
                model = inner
    return model.known_keys()


def check_section(section: type[Section], value: Any, prefix: str) -> Section:
    """A section on its own. Raises ValueError: what is wrong with it, `prefix` before each key."""
    try:
        return section.model_validate(value)
    except ValidationError as error:
        raise ValueError(explain(error, section, f"  {prefix}")) from None


def _section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    inner = (_section_in(argument) for argument in get_args(annotation))
    return next((section for section in inner if section is not None), None)


def unknown(what: str, value: Any, known: Iterable[str]) -> str:
    """Says what was value and what is accepted, and names the nearest."""
    known = list(known)
    near = difflib.get_close_matches(str(value), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {what} {value!r}; {hint}accepted: {', '.join(known)}"
