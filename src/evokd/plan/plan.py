"""A whole plan: which placement fits, what each stage takes, what to change where it doesn't."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from evokd.errors import InputError
from evokd.plan.changes import Change, smallest_changes
from evokd.plan.devices import GIB, Device
from evokd.plan.placement import Kind
from evokd.plan.rates import Rate
from evokd.plan.stages import Ground, Planned, planned_stages
from evokd.recipe.recipe import Recipe


def make_plan(
    recipe: Recipe, ground: Ground, price: float | None = None, rate: Rate | None = None
) -> dict[str, Any]:
    """What a run would take, as a tree that JSON knows.

    Args:
        price: of an hour of one device.
        rate: how fast this device was found to be.

    Raises:
        InputError: a run would refuse the recipe, whatever memory there is.

    Returns:
        `fits`, `placement`, `placements` (each that was looked at), `stages`, `total`, `device`,
        `notes`. Sizes are in GiB.
    """
    memory, devices = ground.device.memory, ground.devices
    named = "none" if devices == 1 else recipe.training.sharding
    tried = _tried(recipe, ground, [named] if named else ["ddp", "fsdp2"])
    fit = {kind: _largest(stages) <= memory for kind, stages in tried.items()}
    chosen = next((kind for kind, fits in fit.items() if fits), list(tried)[-1])
    stages = tried[chosen]
    changes = smallest_changes(stages, recipe, ground, chosen)
    rows = [_row(one, changes.get(one.name, []), ground, price, rate) for one in stages]
    placements = {
        kind: {"fits": fit[kind], "largest_gib": round(_largest(one) / GIB, 2)}
        for kind, one in tried.items()
    }
    typed = [] if named else [f"training.sharding={chosen}"]
    hours = [row["hours"] for row in rows if row["hours"] is not None]
    costs = [row["cost"] for row in rows if row["cost"] is not None]
    tree: dict[str, Any] = {
        "name": recipe.name,
        "fits": fit[chosen],
        "placement": chosen,
        "placements": placements,
        "type": typed,
        "gpus": devices,
        "device": {
            "name": ground.device.name,
            "kind": ground.device.kind,
            "memory_gib": round(memory / GIB, 2),
        },
        "models": {
            name: {"parameters": shape.parameters, "shape": shape.words()}
            for name, shape in ground.shapes._asdict().items()
        },
        "stages": rows,
        "total": {
            "hours": _digits(sum(hours)) if hours else None,
            "cost": _digits(sum(costs)) if costs else None,
            "disk_gib": _digits(_disk(stages) / GIB),
        },
        "notes": _notes(recipe, ground, rate),
    }
    for row in rows:
        row["refusal"] = None if row["fits"] else refusal(tree, row)
    return tree


def refusal(tree: dict[str, Any], row: dict[str, Any]) -> str:
    """Why a stage can't fit, in the words that plan and run share."""
    has, parts = tree["device"]["memory_gib"], row["per_device_gib"]
    largest = sorted((gib, name) for name, gib in parts.items() if name not in ("total", "runtime"))
    shown = ", ".join(f"{name} {gib:.1f}" for gib, name in reversed(largest[-3:]))
    said = (
        f"{row['name']} takes {parts['total']:.1f} GiB ({row['placement']}; {shown}), and "
        f"{tree['device']['name']} has {has:.1f}"
    )
    tips = [tip["words"] for tip in row["changes"]]
    return f"{said}. Smallest change: {'; or '.join(tips)}" if tips else said


def _tried(recipe: Recipe, ground: Ground, kinds: Sequence[Kind]) -> dict[Kind, list[Planned]]:
    """The stages under each placement that a run would take.

    Raises:
        InputError: it would take none.
    """
    tried: dict[Kind, list[Planned]] = {}
    for kind in kinds:
        try:
            tried[kind] = planned_stages(recipe, ground, kind)
        except InputError:
            if kind == kinds[-1] and not tried:
                raise
    return tried


def _row(
    stage: Planned,
    changes: Sequence[Change],
    ground: Ground,
    price: float | None,
    rate: Rate | None,
) -> dict[str, Any]:
    workers = stage.placement.workers
    seconds = _seconds(stage, ground.device, rate)
    hours = None if seconds is None else stage.times * seconds / workers / 3600
    # A device that waits costs as much as one that works.
    cost = None if hours is None or price is None else hours * price * ground.devices
    return {
        "name": stage.name,
        "fits": stage.parts.total <= ground.device.memory,
        "placement": stage.placement.words(),
        "per_device_gib": stage.parts.in_gib(),
        "hours": _digits(hours),
        "cost": _digits(cost),
        "disk_gib": _digits((stage.saved + stage.checkpoints) / GIB),
        "times": stage.times,
        "trains": stage.training is not None,
        "changes": [one.as_dict() | {"words": one.words()} for one in changes],
        "notes": list(stage.notes),
    }


def _digits(value: float | None) -> float | None:
    """Four that count."""
    return None if value is None else float(f"{value:.4g}")


def _seconds(stage: Planned, device: Device, rate: Rate | None) -> float | None:
    """Of one device that does all of a stage."""
    if stage.seconds is not None or stage.flops is None:
        return stage.seconds
    reached = rate.flops_per_s if rate is not None else device.expected
    return None if reached is None else stage.flops / reached


def _largest(stages: Sequence[Planned]) -> float:
    return max(stage.parts.total for stage in stages)


def _disk(stages: Sequence[Planned]) -> float:
    """All finished models and caches, and the checkpoints of the training that has most."""
    kept = sum(stage.saved * stage.times for stage in stages)
    return kept + max(stage.checkpoints for stage in stages)


def _notes(recipe: Recipe, ground: Ground, rate: Rate | None) -> list[str]:
    text, device = ground.text, ground.device
    length = ground.longest or recipe.training.max_length
    notes = [f"memory: micro-batches whose pairs all have {length} tokens, the most there can be"]
    amount = text.train
    if amount is None:
        notes.append("time: the training text isn't at hand; --pairs N says how much there is")
    else:
        notes.append(
            f"time: {amount.pairs:,.0f} pairs of about {amount.tokens:.0f} tokens "
            f"({text.known_from})"
        )
    if rate is not None:
        notes.append(f"speed: {rate.words()}, measured here ({rate.date})")
    elif device.peak is None:
        notes.append("speed: the card's peak isn't known, so hours aren't; name it by --gpu h100")
    else:
        notes.append(f"speed: {device.expected_words()}, assumed")
    if device.kind == "cpu":
        notes.append("on a CPU the C library keeps some of what small models free: up to 60 % more")
    if recipe.grid:
        studies = prod(len(places) for places in recipe.grid.values())
        notes.append(f"the recipe has a grid of {studies} studies; this is one of them")
    return notes
