"""How a training is spread over the processes that there are: a whole student in each, or a part of
student and teacher in each."""

from __future__ import annotations

from evokd import processes
from evokd.errors import InputError
from evokd.recipe.recipe import Recipe
from evokd.recipe.training import TrainingSettings

IN_PARTS = ("fsdp2", "zero3")
"""Ways in which each process has a part of a model."""


def sharding(recipe: Recipe, training: TrainingSettings) -> str:
    """none, ddp, fsdp2 or zero3.

    Raises:
        InputError: there are several processes, and it isn't to be spread, or can't be.
    """
    if processes.count() == 1:
        return "none"
    by_zero3 = processes.by_zero3()
    if training.sharding is not None and by_zero3:
        raise InputError(
            f"accelerate asks for DeepSpeed ZeRO-3, and the recipe for training.sharding: "
            f"{training.sharding}; leave one of them out"
        )
    if training.sharding == "none":
        raise InputError(
            f"training.sharding: none is for one process, and there are {processes.count()}; "
            "take ddp or fsdp2, or leave --processes out"
        )
    how = "zero3" if by_zero3 else training.sharding or "ddp"
    if how in IN_PARTS:
        _check_parts(how, recipe, training)
    return how


def _check_parts(how: str, recipe: Recipe, training: TrainingSettings) -> None:
    """Raises InputError: settings that can't be laid out in parts."""
    loras = (recipe.student.adapters, recipe.teacher.adapters)
    own = how == "zero3"  # DeepSpeed keeps weights and optimizer in its own ways
    unknown = {
        "lora.quantize": any(one is not None and one.quantize != "none" for one in loras),
        "teacher.quantize": recipe.teacher.quantize != "none",
        f"training.optimizer: {training.optimizer}": "8bit" in training.optimizer
        or (own and training.optimizer != "adamw"),
        f"training.weights: {training.weights}": own and training.weights != "float32",
        "pruning.methods": own and bool(recipe.pruning.methods),
    }
    for what, found in unknown.items():
        if found:
            name = "DeepSpeed ZeRO-3" if own else "training.sharding: fsdp2"
            raise InputError(f"{name} doesn't go with {what}; take ddp, or leave it out")
