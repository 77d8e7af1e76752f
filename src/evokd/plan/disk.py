"""What a study leaves on a disk."""

from __future__ import annotations

from evokd.plan.placement import Formats
from evokd.plan.shapes import Shape
from evokd.plan.time import Amount

CHECKPOINTS = 3
"""Two are kept of a training while it lasts, and a third is being written."""
SAVED = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}


def saved_bytes(shape: Shape, dtype: str) -> float:
    """Of a finished model."""
    return shape.parameters * SAVED[dtype]


def checkpoint_bytes(shape: Shape, formats: Formats) -> float:
    """Of a training's checkpoints, weights and optimizer, which are removed when it is done."""
    return CHECKPOINTS * (formats.weights_of(shape) + formats.optimizer_of(shape))


def cache_bytes(teacher: Shape, signal: str, top_k: int, text: Amount, size: float) -> float:
    """Of a teacher's signal for each response token (`distil.teacher.cache_reader.CacheSpec`).

    Args:
        size: bytes of a number of the teacher's.
    """
    if signal == "hidden":
        return text.all_responses * teacher.hidden * size + teacher.head * size
    k = min(top_k, teacher.vocabulary)
    token = k * (2 + (teacher.vocabulary > 2**16) + 2) + 8
    return text.all_responses * token
