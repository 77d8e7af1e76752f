"""Weights in 8 or 4 bits (bitsandbytes), of models whose own weights aren't trained."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from evokd.errors import InputError, require

# Wherever it is installed, it tells of kernels that it does without, and of each product's format.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

ADVICE = "take quantize: none, whose weights are in bfloat16 on a GPU"


def quantization(bits: str, dtype: torch.dtype, device: torch.device) -> BitsAndBytesConfig:
    """How transformers quantizes a model while it reads it: every linear layer but the head.

    Args:
        bits: 8bit (LLM.int8, Dettmers et al. 2022) or 4bit (NF4, Dettmers et al. 2023).
        dtype: of all other weights, and of what is multiplied.

    Raises:
        InputError: bitsandbytes isn't there, or not for this device.
    """
    bitsandbytes(f"quantize: {bits}")
    if device.type not in ("cuda", "cpu", "xpu"):
        raise InputError(f"quantize: {bits} isn't there on {device.type} devices; {ADVICE}")
    if bits == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def keep_layout(model: nn.Module) -> None:
    """Let a CPU multiply with 4-bit weights as they are.

    bitsandbytes would lay them out anew for bfloat16 products at the first look without gradients,
    and in that layout no gradient goes through them: training after an evaluation would be wrong.
    """
    linear = bitsandbytes("quantize").nn.Linear4bit
    for module in model.modules():
        if isinstance(module, linear):
            module.support_avx512bf16_for_cpu = False


def is_quantized(model: Any) -> bool:
    """Whether any of a model's weights are in 8 or 4 bits."""
    return bool(getattr(model, "is_quantized", False))


def format_of(model: Any) -> str:
    """The number format of a model's weights: float32, or 4bit float32 where they are mixed."""
    dtype = str(model.dtype).removeprefix("torch.")
    if not is_quantized(model):
        return dtype
    bits = "4bit" if getattr(model, "is_loaded_in_4bit", False) else "8bit"
    return f"{bits} {dtype}"


def bitsandbytes(what: str) -> Any:
    """The package.

    Raises:
        InputError: it isn't there, and `what` needs it.
    """
    require("bitsandbytes", "quantization", what)
    import bitsandbytes as package

    return package
