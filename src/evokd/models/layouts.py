"""Where a model keeps its layers, heads and neurons, for the kinds of models that can be cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from evokd.errors import InputError
from evokd.models.lm_head import decoder_of

KNOWN = (
    *("llama", "mistral", "ministral", "qwen2", "qwen3"),
    *("gemma", "gemma2", "gemma3_text", "smollm3", "granite"),
)
"""Kinds of models whose heads and neurons can be taken apart."""
LINEARS = {
    "self_attn.q_proj": ("heads", 0),
    "self_attn.k_proj": ("groups", 0),
    "self_attn.v_proj": ("groups", 0),
    "self_attn.o_proj": ("heads", 1),
    "mlp.gate_proj": ("neurons", 0),
    "mlp.up_proj": ("neurons", 0),
    "mlp.down_proj": ("neurons", 1),
}
"""What each product of a layer has along which dimension of its weight."""


@dataclass(frozen=True)
class Layout:
    """Sizes of every layer of a model."""

    heads: int
    groups: int
    """Heads of keys and values; heads / groups share one."""
    head_dim: int
    neurons: int

    @property
    def unit(self) -> int:
        """Heads that leave together. Where one key serves all, they leave one by one."""
        return 1 if self.groups == 1 else self.heads // self.groups


def layers_of(model: Any) -> nn.ModuleList:
    """The stack of layers of a causal language model.

    Raises:
        InputError: it isn't where it is looked for.
    """
    layers = getattr(decoder_of(model), "layers", None)
    if not isinstance(layers, nn.ModuleList):
        raise InputError(
            f"a student can't be cut from {type(model).__name__}: it has no list of layers under "
            f"the name `layers`. Accepted: {', '.join(KNOWN)}, and of others those that have such "
            "a list (student.cut.layers); else take student.model: fresh"
        )
    return layers


def layout_in(text: Any) -> Layout:
    """Sizes as the text config of a model of a known kind has them."""
    heads = text.num_attention_heads
    return Layout(
        heads=heads,
        groups=getattr(text, "num_key_value_heads", None) or heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // heads,
        neurons=text.intermediate_size,
    )


def layout_of(model: Any) -> Layout:
    """Sizes of a model, if it is of a known kind.

    Raises:
        InputError: it isn't, or its layers aren't what its config says.
    """
    text = model.config.get_text_config()
    if text.model_type not in KNOWN:
        raise InputError(
            f"heads and neurons of {text.model_type} models aren't known here; student.cut.heads "
            f"and student.cut.intermediate_size accept {', '.join(KNOWN)}. "
            "student.cut.layers works for this one, too"
        )
    layout = layout_in(text)
    for number, layer in enumerate(layers_of(model)):
        modules = dict(layer.named_modules())
        for name, (parts, dim) in LINEARS.items():
            size = getattr(layout, parts) * (1 if parts == "neurons" else layout.head_dim)
            linear = modules.get(name)
            if type(linear) is nn.Linear and linear.weight.shape[dim] == size:
                continue
            raise InputError(
                f"layer {number} of this {text.model_type} model isn't built of "
                f"{', '.join(LINEARS)} in the sizes of its config (a fused, quantized or adapted "
                "layer?); take student.cut.layers only, or the plain model"
            )
    return layout
