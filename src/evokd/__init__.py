"""evokd: distil a large LLM translator into a small one, and tell honestly how well that went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evokd.distil.chunks.fused_loss import fused_loss
    from evokd.distil.learning.trainer import DistillationTrainer
    from evokd.distil.objectives import difficulty, token_loss
    from evokd.distil.signal.cache import write_cache
    from evokd.distil.signal.teachers import CachedTeacher

__all__ = [
    "CachedTeacher",
    "DistillationTrainer",
    "difficulty",
    "fused_loss",
    "token_loss",
    "write_cache",
]

_HOMES = {
    "CachedTeacher": "evokd.distil.signal.teachers",
    "DistillationTrainer": "evokd.distil.learning.trainer",
    "difficulty": "evokd.distil.objectives",
    "fused_loss": "evokd.distil.chunks.fused_loss",
    "token_loss": "evokd.distil.objectives",
    "write_cache": "evokd.distil.signal.cache",
}


def __getattr__(name: str) -> Any:
    # Loaded when asked for, so that scoring and reports work without torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'evokd' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
