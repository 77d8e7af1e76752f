"""Low-rank adapters (peft) that are trained in a model's place, and merged into it at the end."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from evokd.errors import InputError, require
from evokd.models import zero3
from evokd.models.quantized import is_quantized
from evokd.models.sharding import average_gradients, is_sharded, laid_out_like, opened
from evokd.recipe.models import LoraSettings


def add_adapters(model: PreTrainedModel, settings: LoraSettings, seed: int) -> Any:
    """A `PeftModel` around a model, whose own weights are frozen and stay where they are.

    Adapters are in float32 whatever the model is in, drawn by the seed; at first they change
    nothing.

    Raises:
        InputError: peft isn't there, a target is no layer of this model, or is its head.
    """
    peft = _peft()
    targets = settings.targets
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(), warnings.catch_warnings():
        torch.manual_seed(seed)
        warnings.simplefilter("ignore")  # peft's, of names that transformers has new ones for
        try:
            adapted = peft.get_peft_model(model, config)
        except ValueError as error:
            raise InputError(
                f"lora.targets: {targets} don't fit {type(model).__name__}: "
                f"{' '.join(str(error).split())[:300]}"
            ) from None
    ends = {"head": model.get_output_embeddings(), "embeddings": model.get_input_embeddings()}
    for name, layer in ends.items():
        if isinstance(layer, peft.tuners.lora.LoraLayer):
            raise InputError(
                f"lora.targets: {targets} hold the {name} of {type(model).__name__}, which no "
                "adapter is accepted on: the loss reads the head's own weight. Leave it out, or "
                "take targets: all-linear, which does"
            )
    if is_sharded(model) and not zero3.is_partitioned(model):
        average_gradients(weight for weight in adapted.parameters() if weight.requires_grad)
    return adapted


def describe_adapters(adapted: Any, settings: LoraSettings) -> dict[str, Any]:
    """What they are called, and how much of the model they are."""
    trained, _ = adapted.get_nb_trainable_parameters()
    return {"lora": settings.words, "trained_parameters": trained}


@torch.no_grad()
def merge_adapters(adapted: Any, dtype: torch.dtype) -> PreTrainedModel:
    """The model that `add_adapters` was given, in place: plain again, adapters added to its weights
    in `dtype`; quantized weights are whole again, as they were multiplied with."""
    adapters = {
        name: module
        for name, module in adapted.get_base_model().named_modules()
        if hasattr(module, "get_delta_weight")
    }
    plain: Any = adapted.unload()
    if is_quantized(plain):
        plain = plain.dequantize()
    # Before merging: what an adapter adds may be less than half a step of a lower format.
    plain.to(dtype)
    for name, adapter in adapters.items():
        weight = plain.get_submodule(name).weight
        with opened([weight, *adapter.parameters()]):
            delta = adapter.get_delta_weight("default").to(dtype)
            weight.add_(laid_out_like(weight, delta))
    merged: PreTrainedModel = plain.requires_grad_(True)
    return merged


def save_adapters(adapted: Any, folder: Path) -> None:
    """The adapters alone, as peft reads them."""
    adapted.save_pretrained(folder)


def take_adapters(adapted: Any, folder: Path) -> None:
    """Adapters that were saved, into a model with the same ones."""
    peft = _peft()
    peft.set_peft_model_state_dict(adapted, peft.load_peft_weights(str(folder), device="cpu"))


def is_adapted(model: Any) -> bool:
    """Whether a model is one with adapters."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def _peft() -> Any:
    require("peft", "lora", "lora")
    import peft

    return peft
