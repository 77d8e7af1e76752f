"""What of settings makes another model, and what doesn't."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evokd.data.textfiles import path_in
from evokd.errors import InputError
from evokd.recipe.models import LoraSettings, ModelSettings
from evokd.recipe.training import TrainingSettings
from evokd.report.card import is_own_card
from evokd.rundir.integrity import hash_of
from evokd.rundir.stage import manifest_in
from evokd.study.context import Study

NEUTRAL = {
    *("log_every", "save_every", "micro_batch_size", "chunk_tokens", "compile", "packing"),
    *("sharding", "report_to"),
}
"""Training settings that don't change what is learned."""
NOT_IDENTITY = {
    *("training", "warm_start_steps", "warm_start_training", "starts", "save_dtype"),
    *("sft", "signal", "top_k", "lora"),
}
"""Settings of a model that are of its training, or of how students get its signal."""
SINCE = {"optimizer": "adamw", "weights": "float32", "quantize": "none"}
"""Keys that earlier versions didn't have; at these values what is made is what they made."""


def training_key(training: TrainingSettings) -> dict[str, Any]:
    """What of a training's settings changes its result."""
    return _told(training.model_dump(exclude=NEUTRAL))


def adapters_in(lora: LoraSettings | None) -> dict[str, Any]:
    """What of adapters changes the model that they are trained for."""
    return {} if lora is None else {"lora": lora.model_dump(mode="json")}


def _told(settings: dict[str, Any]) -> dict[str, Any]:
    """Without what `SINCE` takes for granted."""
    return {key: value for key, value in settings.items() if value != SINCE.get(key, ...)}


def check_folder(model: str) -> None:
    """Raises InputError: a folder that no model was saved in."""
    path = path_in(Path(), model)
    if model in ("fresh", "cut"):
        return  # whatever folders lie about
    if path.is_dir() and not (path / "config.json").is_file():
        below = " (it is in the folder model/ of that one)" if (path / "model").is_dir() else ""
        raise InputError(
            f"model {model} has no config.json{below}; a folder that a model was saved in is "
            "accepted, a .gguf file, or a hub id"
        )


def saved_in(settings: ModelSettings) -> dict[str, str]:
    """The number format of a finished model's files, where it isn't the one that it has anyway."""
    return {} if settings.save_dtype == "float32" else {"save_dtype": settings.save_dtype}


def model_identity(study: Study, settings: ModelSettings, key: str) -> dict[str, Any]:
    """What a model is; one on disk by what its files hold.

    Args:
        key: of what was made of it. Where its files aren't at hand, they are taken to be what they
            were then.
    """
    identity = _told(settings.model_dump(mode="json", exclude=NOT_IDENTITY))
    path = path_in(Path(), settings.model)
    if settings.model != "fresh" and path.exists():
        check_folder(settings.model)
        every = [one for one in sorted(path.rglob("*")) if one.is_file()] or [path]
        files = [one for one in every if not is_own_card(one)]
        hashes = {one.relative_to(path).as_posix(): hash_of(one, study.folder) for one in files}
        return identity | {"files": hashes}
    for place in ("teacher", "start", "tokenizer"):
        known = manifest_in(study.folder / place).get("made_of", {}).get(key)
        known = known if isinstance(known, dict) else {}  # a hash, where it was made here
        if {name: part for name, part in known.items() if name != "files"} == identity:
            return dict(known)
    return identity
