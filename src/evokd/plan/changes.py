"""The smallest change that makes a training fit, tried in the order of what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

from evokd.errors import InputError
from evokd.plan.devices import GIB
from evokd.plan.memory import Training
from evokd.plan.placement import Kind
from evokd.plan.stages import Ground, Planned, planned_stages
from evokd.recipe.file import check_recipe
from evokd.recipe.recipe import Recipe
from evokd.recipe.sweep import without_swept

RANK = 16
"""Of the LoRA that is proposed."""
MOST_DEVICES = 256


@dataclass(frozen=True)
class Change:
    """What to type, and what a device then holds."""

    typed: tuple[str, ...]
    total: float
    devices: int
    changes_result: bool = False

    def words(self) -> str:
        more = f"{self.devices} GPUs with " if self.devices > 1 else ""
        other = " (other results: label them)" if self.changes_result else ""
        return f"{more}{' '.join(self.typed)}: {self.total / GIB:.1f} GiB{other}"

    def as_dict(self) -> dict[str, object]:
        return {
            "type": list(self.typed),
            "gpus": self.devices,
            "total_gib": round(self.total / GIB, 2),
            "changes_result": self.changes_result,
        }


Tried = Iterable[tuple[int, tuple[str, ...]]]
"""Devices, and what is typed."""


def smallest_changes(
    stages: Sequence[Planned], recipe: Recipe, ground: Ground, kind: Kind = "none"
) -> dict[str, list[Change]]:
    """For each training that doesn't fit, by the name of its stage: the first change that fits on
    the same devices, and the first one with more of them.

    Each is tried as it would be typed: the recipe has to take it, and is planned anew.

    Args:
        kind: how trainings lie on the devices, where the recipe doesn't say.
    """
    memory = ground.device.memory
    tree = without_swept(recipe.model_dump(mode="json", exclude={"grid"}))

    @cache
    def again(devices: int, typed: tuple[str, ...]) -> dict[str, Planned]:
        try:
            other = check_recipe(tree, typed, recipe.name)
            planned = planned_stages(other, replace(ground, devices=devices), kind)
        except InputError:
            return {}
        return {one.name: one for one in planned}

    def that_fit(stage: Planned, tried: Tried) -> Iterator[Change]:
        for devices, typed in tried:
            other = again(devices, typed).get(stage.name)
            if other is not None and other.parts.total <= memory:
                changes = any("lora=" in word for word in typed) or (
                    stage.by_micro_batch and _rows(other) != _rows(stage)
                )
                yield Change(typed, other.parts.total, other.placement.devices, changes)

    found: dict[str, list[Change]] = {}
    for stage in stages:
        training = stage.training
        if training is None or stage.parts.total <= memory:
            continue
        fits = that_fit(stage, _here(stage, training, ground.devices))
        # What changes no result goes before all that does.
        here = min(fits, key=lambda change: change.changes_result, default=None)
        more = None
        if training.device == "gpu" and (here is None or here.changes_result):
            more = next(that_fit(stage, _more(stage, training, ground.devices)), None)
        found[stage.name] = [change for change in (here, more) if change is not None]
    return found


def _rows(stage: Planned) -> int:
    return 0 if stage.training is None else stage.training.tokens.rows


def _here(stage: Planned, training: Training, devices: int) -> Tried:
    """On the devices that there are."""
    model = "teacher" if stage.keys.startswith("teacher") else "student"
    lora, hidden = f"{model}.lora={{rank: {RANK}}}", "teacher.signal=hidden"
    for typed in ((), (hidden,), ("training.sharding=fsdp2",), (lora,), (lora, hidden)):
        if hidden in typed and training.signal != "live":
            continue
        for lighter in _lighter(stage, training, typed):
            yield devices, lighter


def _more(stage: Planned, training: Training, devices: int) -> Tried:
    """With more devices, which share the weights."""
    count = 2
    while count <= MOST_DEVICES:
        if count > devices:
            for lighter in _lighter(stage, training, ("training.sharding=fsdp2",)):
                yield count, lighter
        count *= 2


def _lighter(
    stage: Planned, training: Training, typed: tuple[str, ...]
) -> Iterator[tuple[str, ...]]:
    """As it is; with smaller micro-batches, with checkpointing, with both."""
    sizes, rows = [""], training.tokens.rows
    while rows > 1:
        rows //= 2
        sizes.append(f"{stage.keys}.micro_batch_size={rows}")
    checkpointing = (
        [""] if training.checkpointing else ["", f"{stage.keys}.gradient_checkpointing=true"]
    )
    for more in product(checkpointing, sizes):
        yield (*typed, *filter(None, more))
