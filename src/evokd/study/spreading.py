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
    if how in IN_PARTS and (problem := recipe.sharding_problem(training, by_zero3)):
        raise InputError(problem)
    return how
