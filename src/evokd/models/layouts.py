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
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")


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

    def groups_for(self, heads: int) -> int:
        return 1 if self.groups == 1 else heads // self.unit


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
    attention: Any = layers_of(model)[0].self_attn
    layout = Layout(
        heads=text.num_attention_heads,
        groups=text.num_key_value_heads or text.num_attention_heads,
        head_dim=attention.head_dim,
        neurons=text.intermediate_size,
    )
    for number, layer in enumerate(layers_of(model)):
        if not _is_like(layer, layout):
            raise InputError(
                f"layer {number} of this {text.model_type} model isn't built of "
                f"{', '.join(_ATTENTION)} and {', '.join(_FEED_FORWARD)} in the sizes of its "
                "config (a fused, quantized or adapted layer?); take student.cut.layers only, or "
                "the plain model"
            )
    return layout


def _is_like(layer: Any, layout: Layout) -> bool:
    query, key = layout.heads * layout.head_dim, layout.groups * layout.head_dim
    sizes = dict(zip(_ATTENTION, ((0, query), (0, key), (0, key), (1, query)), strict=True))
    sizes |= dict(zip(_FEED_FORWARD, ((0, n := layout.neurons), (0, n), (1, n)), strict=True))
    for name, (dim, size) in sizes.items():
        block = layer.self_attn if name in _ATTENTION else layer.mlp
        linear = getattr(block, name, None)
        if type(linear) is not nn.Linear or linear.weight.shape[dim] != size:
            return False
    return True
