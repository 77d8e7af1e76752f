"""Whether a run has the room that it needs, asked before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evokd import processes
from evokd.errors import InputError
from evokd.plan import devices
from evokd.plan.models import shapes_of
from evokd.plan.plan import make_plan
from evokd.plan.rates import remember
from evokd.plan.speed import speed_facts
from evokd.plan.stages import Ground
from evokd.plan.text import text_of
from evokd.recipe.recipe import Recipe
from evokd.rundir.stage import manifest_in

CLEARLY = 1.1
"""An estimate beyond so many times the memory is refused; what is nearer is tried."""


PLACES = {
    "teacher": "teacher",
    "start": "start",
    "check": "gate",
    "teacher's text (teacher)": "teacher_text/teacher",
    "teacher's text (nearest)": "teacher_text/nearest",
    "cache (hidden)": "cache/hidden",
    "cache (topk)": "cache/top*",
    "translations of teacher": "translations/*.teacher.json",
    "translations of students": "translations/*.seed*.json",
}
"""Stage of a plan, students apart → where it is in a run folder (`study.places`)."""


def check_room(recipe: Recipe, folder: Path, together: int = 1, store: Path | None = None) -> None:
    """Refuse a study with a stage that can't fit this device, even on pairs of mean length.

    Stages that are there already aren't asked about, nor are models whose shape isn't known.

    Args:
        together: processes that train together.
        store: of stages that several runs share.

    Raises:
        InputError: one can't.
    """
    device = _device(recipe, together)
    if device is None:
        return
    try:
        shapes, text = shapes_of(recipe), text_of(recipe, folder)
    except InputError:
        return
    mean = text.of_pairs(1.0).tokens
    longest = max(8, min(recipe.training.max_length, round(mean)))
    tree = make_plan(recipe, Ground(shapes, text, device, together, longest))
    too_large = [row for row in tree["stages"] if not row["fits"] and _is_to_be(row, folder, store)]
    worst = max(too_large, key=_needed, default=None)
    if worst is not None and _needed(worst) > CLEARLY * tree["device"]["memory_gib"]:
        raise InputError(
            f"{worst['refusal']}. That is for pairs of mean length; `evokd plan` shows all of it, "
            "--anyway goes on all the same"
        )


def note_speed(study: Any, student: Any, source: Any, data: Any, facts: dict[str, Any]) -> None:
    """Put FLOP/s into a training's facts, and remember them for the next plan on this machine."""
    reads = source is not None and source.signal.model is not None
    teacher = source.signal.model.config.to_dict() if reads else None
    length, name = float(data.lengths.mean()), device_name(study.device)
    config = student.model.config.to_dict()
    facts |= speed_facts(facts, config, teacher, length, name, processes.count())
    remember(name, facts | {"parameters": student.model.num_parameters()})


def device_name(device: Any) -> str:
    """As rates are kept under, and plans look for."""
    if device.type != "cuda":
        return devices.cpu().name
    import torch

    return str(torch.cuda.get_device_name(device))


def _device(recipe: Recipe, together: int) -> devices.Device | None:
    """What each process of a run would work on; None: its memory can't be told."""
    from evokd.models.loading import pick_device

    device, _ = pick_device(recipe.device)
    if device.type == "cpu":
        machine = devices.cpu()
        return replace(machine, memory=machine.memory / max(1, together))
    if device.type != "cuda":
        return None
    import torch

    name = torch.cuda.get_device_name(device)
    memory = float(torch.cuda.get_device_properties(device).total_memory)
    return devices.chosen_device(name, f"{memory / 2**20:.0f}MiB")


def _is_to_be(row: Mapping[str, Any], folder: Path, store: Path | None) -> bool:
    """Whether nothing of a stage stands there yet, and nothing in the store that may be it."""
    name = row["name"]
    place = PLACES.get(name, f"students/{name.removeprefix('student ')}.seed*")
    found = [*folder.glob(place)]
    if store is not None:
        found += (store / place.split("/")[0]).glob("*")
    return not any(one.is_file() or manifest_in(one) for one in found)


def _needed(row: Mapping[str, Any]) -> float:
    """GiB that a stage can't do without: of one that only reads, the models."""
    parts = row["per_device_gib"]
    return float(parts["total"] if row["trains"] else parts["weights"] + parts["teacher"])
