"""A training whose student is trained by low-rank adapters in place of its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evokd import processes
from evokd.recipe.models import LoraSettings
from evokd.study.context import Study
from evokd.study.places import System

FOLDER = "adapter"
"""Beside a model's: what was trained of it, in peft's format."""


def train_adapters(
    study: Study,
    stage: System,
    student: Any,
    lora: LoraSettings,
    fit: Callable[[Any], dict[str, Any]],
    dtype: str,
) -> dict[str, Any]:
    """Train a student's adapters, save them, and merge them into it in place.

    Args:
        fit: trains the model that it is given; facts of that.
        dtype: the number format of the merged weights.
    """
    from evokd.models.adapters import add_adapters, describe_adapters, merge_adapters, save_adapters
    from evokd.models.loading import pick_dtype

    adapted = add_adapters(student.model, lora, study.seed_of(stage))
    facts = describe_adapters(adapted, lora)
    study.log(f"{stage.name}: {facts['lora']}, {facts['trained_parameters']:,} parameters trained")
    facts |= fit(adapted)
    processes.by_first(lambda: save_adapters(adapted, stage.folder / FOLDER))
    merge_adapters(adapted, pick_dtype(dtype, study.device)[0])
    return facts
