"""The sweep section of a recipe: one method at many settings, each a method of its own."""

from __future__ import annotations

import copy
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from evokd.errors import InputError
from evokd.recipe.code import ADDRESS_FORM, is_address, name_in
from evokd.recipe.methods import MethodSettings
from evokd.recipe.objectives import OBJECTIVES, PRESETS, ObjectiveSettings, method_names
from evokd.recipe.places import set_at
from evokd.recipe.section import Section, as_list
from evokd.recipe.validation import check_known, element_names

OF_THE_STUDY = ("corpus", "tokenizer", "teacher", "student", "prompt", "directions", "seeds")
MOST = 200
"""Methods that a sweep may stand for."""


class Range(Section):
    """Numbers from start to end, both among them: in steps, or so many at equal distances."""

    start: float
    end: float
    step: float | None = Field(default=None, gt=0)
    count: int | None = Field(default=None, ge=2, le=MOST)
    log: bool = False
    """Equal ratios in the place of equal distances."""

    @model_validator(mode="after")
    def _is_one_range(self) -> Range:
        if (self.step is None) == (self.count is None):
            raise ValueError("found both or none of step and count; one of them is accepted")
        if self.log and (self.step is not None or min(self.start, self.end) <= 0):
            raise ValueError("log takes a count, and a start and an end above 0")
        if self.step is not None:
            if self.end < self.start:
                raise ValueError(f"end {self.end:g} is below start {self.start:g}")
            if (self.end - self.start) / self.step >= MOST:
                raise ValueError(f"step {self.step:g} makes more than {MOST} values")
        return self

    def values(self) -> list[float]:
        """The numbers, rounded to what a reader would type."""
        if self.step is not None:
            count = int((self.end - self.start) / self.step + 1e-9) + 1
            made = [self.start + i * self.step for i in range(count)]
        else:
            assert self.count is not None
            shares = [i / (self.count - 1) for i in range(self.count)]
            if self.log:
                low, high = math.log(self.start), math.log(self.end)
                made = [math.exp(low + share * (high - low)) for share in shares]
            else:
                made = [self.start + share * (self.end - self.start) for share in shares]
        return [float(f"{value:.4g}" if self.log else f"{value:.10g}") for value in made]


def _list_or_range(value: Any) -> Any:
    if isinstance(value, dict):
        for key in value:
            check_known("key of a range", key, Range.model_fields)
        return Range.model_validate(value)
    if isinstance(value, (list, tuple, Range)):
        return value
    raise ValueError(
        f"found {value!r}; a list of values or {{start: 0.1, end: 0.9, step: 0.2}} is accepted"
    )


Values = Annotated[Any, BeforeValidator(_list_or_range)]
"""A list, or a `Range`."""


class SweepSettings(Section):
    """One method at many settings."""

    of: str | dict[str, Any]
    """One of the recipe's methods by its name, or a method as it would stand among them."""
    over: dict[str, Values] = Field(min_length=1)
    """Keys of the method, training.learning_rate and the like among them, and their values."""
    how: Literal["grid", "list"] = "grid"
    """All combinations; or the first values of all keys, then the second ones, and so on."""
    name: str | None = None
    """What the names of its methods begin with; null: nothing, or the swept method's name where
    another method would be called the same."""

    @model_validator(mode="after")
    def _is_of_some_size(self) -> SweepSettings:
        sizes = {key: len(values) for key, values in self.values().items()}
        if not all(sizes.values()):
            raise ValueError(f"over.{min(sizes, key=lambda key: sizes[key])}: found no value")
        if self.how == "list" and len(set(sizes.values())) > 1:
            found = ", ".join(f"{key} has {size}" for key, size in sizes.items())
            raise ValueError(f"how: list takes equally many values of each key; {found}")
        if self.how == "grid" and math.prod(sizes.values()) > MOST:
            raise ValueError(f"{math.prod(sizes.values())} combinations; at most {MOST} are made")
        return self

    def values(self) -> dict[str, list[Any]]:
        """The values of each key."""
        return {
            key: one.values() if isinstance(one, Range) else list(one)
            for key, one in self.over.items()
        }

    def points(self) -> Iterator[dict[str, Any]]:
        """What each method is set to."""
        values, together = self.values(), self.how == "list"
        each = values.values()
        for one in zip(*each, strict=True) if together else product(*each):
            yield dict(zip(values, one, strict=True))


def expand(tree: dict[str, Any], origin: str = "recipe") -> dict[str, Any]:
    """A recipe's tree with a method for each point of its sweeps, behind those that stand there.

    What an earlier expansion made is made anew, so that a saved recipe can be changed.

    Raises:
        InputError: a method or a key that isn't known.
    """
    if not tree.get("sweep"):
        return tree
    own = [one for one in tree.get("methods") or [] if not _is_swept(one)]
    try:
        sweeps = [SweepSettings.model_validate(given) for given in as_list(tree["sweep"])]
    except ValidationError:
        return tree  # the whole recipe's check says what is wrong
    made = []
    for number, (sweep, prefix) in enumerate(zip(sweeps, _prefixes(sweeps, own), strict=True)):
        place = f"{origin}: sweep.{number}"
        base = _method_of(sweep, own, place)
        for key in sweep.over:
            _check_key(key, base["objective"], f"{place}.over: ")
        for at in sweep.points():
            method = copy.deepcopy(base) | {"name": _name_of(at, prefix)}
            for key, value in at.items():
                set_at(method, key, copy.deepcopy(value), f"{place}.over.{key}")
            made.append(method | {"swept": {"of": base["name"], "at": at}})
    return tree | {"methods": [*own, *made]}


def without_swept(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's tree as it was before its sweeps were expanded."""
    methods = [one for one in tree["methods"] if not _is_swept(one)]
    return {**tree, "methods": methods} if tree.get("sweep") else dict(tree)


def _is_swept(method: Any) -> bool:
    return isinstance(method, dict) and bool(method.get("swept"))


def _prefixes(sweeps: list[SweepSettings], methods: list[Any]) -> list[str | None]:
    """What the names of each sweep's methods begin with."""
    taken = Counter(element_names(methods))
    for sweep in sweeps:
        taken.update({_name_of(at, sweep.name) for at in sweep.points()})
    prefixes = []
    for sweep in sweeps:
        clashes = any(taken[_name_of(at, sweep.name)] > 1 for at in sweep.points())
        of = sweep.of if isinstance(sweep.of, str) else sweep.of.get("name")
        prefixes.append(sweep.name or (name_in(str(of)) if of and clashes else None))
    return prefixes


def _method_of(sweep: SweepSettings, methods: list[Any], place: str) -> dict[str, Any]:
    """The method that is swept, spelled out, with its name."""
    if isinstance(sweep.of, dict):
        base = dict(sweep.of)
    else:
        names = element_names(methods)
        found = methods[names.index(sweep.of)] if sweep.of in names else {"objective": sweep.of}
        base = dict(found) if isinstance(found, dict) else {"objective": found}
    base.setdefault("objective", base.get("name"))
    base.setdefault("name", base["objective"])
    if base["objective"] is None:
        raise InputError(f"{place}.of: found no objective; a method is accepted, such as noevo")
    if not is_address(base["objective"]):
        _known("objective", base["objective"], (*method_names(), ADDRESS_FORM), f"{place}.of: ")
    return base


def _check_key(key: str, objective: str, where: str) -> None:
    """Raises InputError: no key of a method, or one that its objective doesn't read."""
    first = key.split(".")[0]
    if first in OF_THE_STUDY:
        raise InputError(f"{where}{key} is no method's, but the study's; that is for a grid")
    _known("key of a method", first, MethodSettings.known_keys(), where)
    spec = OBJECTIVES.get(PRESETS.get(objective, {}).get("objective", objective))
    if spec and first in ObjectiveSettings.model_fields and first not in spec.settings:
        read = ", ".join(spec.settings) or "no setting of an objective"
        raise InputError(f"{where}{objective} doesn't read {first}; it reads {read}")


def _known(what: str, value: Any, known: Iterable[str], where: str) -> None:
    try:
        check_known(what, value, known, where)
    except ValueError as error:
        raise InputError(str(error)) from None


def _name_of(at: Mapping[str, Any], prefix: str | None) -> str:
    """gamma 0.4 → gamma_0_4, training.learning_rate 1e-05 → learning_rate_1e_05, −1 → m1."""
    parts = [prefix] if prefix else []
    for key, value in at.items():
        text = f"{value:g}" if isinstance(value, float) else str(value).lower()
        text = re.sub(r"^-(?=\d)", "m", text)
        parts.append(f"{key.rpartition('.')[2]}_{text}")
    return re.sub(r"[^A-Za-z0-9+]+", "_", "_".join(parts)).strip("_")
