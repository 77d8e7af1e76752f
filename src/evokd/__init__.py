"""evokd: distil a large LLM translator into a small one, and tell honestly how well that went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evokd.data.prompts import load_prompt
    from evokd.data.sources import load_pairs
    from evokd.distil.fused_loss import fused_loss
    from evokd.distil.objectives import difficulty, token_loss
    from evokd.distil.teacher.precompute import write_cache
    from evokd.distil.teacher.signal import CachedTeacher
    from evokd.distil.train.trainer import DistillationTrainer
    from evokd.export.translator import Translator
    from evokd.models.encoded import encode_corpus
    from evokd.models.saving import save_translator

__all__ = [
    "CachedTeacher",
    "DistillationTrainer",
    "Translator",
    "difficulty",
    "encode_corpus",
    "fused_loss",
    "load_pairs",
    "load_prompt",
    "save_translator",
    "token_loss",
    "write_cache",
]

_HOMES = {
    "CachedTeacher": "evokd.distil.teacher.signal",
    "DistillationTrainer": "evokd.distil.train.trainer",
    "Translator": "evokd.export.translator",
    "difficulty": "evokd.distil.objectives",
    "encode_corpus": "evokd.models.encoded",
    "fused_loss": "evokd.distil.fused_loss",
    "load_pairs": "evokd.data.sources",
    "load_prompt": "evokd.data.prompts",
    "save_translator": "evokd.models.saving",
    "token_loss": "evokd.distil.objectives",
    "write_cache": "evokd.distil.teacher.precompute",
}


def __getattr__(name: str) -> Any:
    # Loaded when asked for, so that scoring and reports work without torch.
    if name == "__version__":
        from evokd.rundir.versions import versions

        return versions().get("evokd", "unknown")
    if name not in _HOMES:
        raise AttributeError(f"module 'evokd' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
