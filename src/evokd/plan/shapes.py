"""The shape of a decoder: a few numbers, and how many weights and operations they come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from evokd.errors import InputError
from evokd.recipe.models import CutModel, FreshModel


@dataclass(frozen=True)
class Family:
    """In what decoders of one kind differ from Llama's."""

    bias: str = ""
    """Which projections have one: q, k, v, o."""
    norms: int = 2
    """RMSNorms of a layer."""
    qk_norm: bool = False
    """Queries and keys of each head have one as well."""
    wide_norms: bool = False
    """They work in float32 to their end (Gemma)."""
    scores: bool = False
    """Attention keeps its scores, (T, T) of each head: soft capping has no fused kernel."""


FAMILIES = {
    "llama": Family(),
    "mistral": Family(),
    "phi3": Family(),
    "granite": Family(),
    "smollm3": Family(),
    "qwen2": Family(bias="qkv"),
    "qwen3": Family(qk_norm=True),
    "gemma": Family(wide_norms=True),
    "gemma2": Family(norms=4, wide_norms=True, scores=True),
    "gemma3_text": Family(norms=4, qk_norm=True, wide_norms=True),
}
"""By transformers' model_type."""


@dataclass(frozen=True)
class Shape:
    """A decoder with grouped-query attention and a gated feed-forward part."""

    family: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    """One matrix for input and output embeddings."""

    @property
    def kind(self) -> Family:
        """An unknown one is taken for a Llama."""
        return FAMILIES.get(self.family, FAMILIES["llama"])

    @property
    def queries(self) -> int:
        """Width of all queries of a token."""
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        """Width of all keys, or values, of a token."""
        return self.kv_heads * self.head_dim

    @property
    def linear(self) -> int:
        """Weights of a layer that tokens are multiplied with."""
        attention = 2 * self.hidden * (self.queries + self.keys)
        return attention + 3 * self.hidden * self.intermediate

    @property
    def layer(self) -> int:
        """Weights of a layer."""
        widths = {"q": self.queries, "k": self.keys, "v": self.keys, "o": self.hidden}
        biases = sum(widths[name] for name in self.kind.bias)
        norms = self.kind.norms * self.hidden + 2 * self.head_dim * self.kind.qk_norm
        return self.linear + biases + norms

    @property
    def head(self) -> int:
        """Weights of an embedding matrix."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """Shared weights count once."""
        return self.head * (2 - self.tied) + self.layers * self.layer + self.hidden

    def forward_flops(self, length: float) -> float:
        """Of a token below the head, in a sequence of so many: 2 a weight, and attention."""
        return self.layers * (2.0 * self.linear + 4.0 * length * self.queries)

    @property
    def head_flops(self) -> float:
        """Of a token's logits."""
        return 2.0 * self.head

    def words(self) -> str:
        return f"{self.layers} layers, {self.hidden} wide, {self.vocabulary} tokens"


def shape_of_config(config: Mapping[str, Any], origin: str) -> Shape:
    """Of a model's config.json.

    Raises:
        InputError: a number is missing.
    """
    try:
        config = {**config, **(config.get("text_config") or {})}
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        family = str(config.get("model_type", "llama"))
        return Shape(
            family={"gemma3": "gemma3_text"}.get(family, family),
            layers=int(config["num_hidden_layers"]),
            hidden=hidden,
            intermediate=int(config["intermediate_size"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            vocabulary=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", family.startswith("gemma"))),
        )
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"{origin}: it isn't the config of a decoder ({error}); one such as Llama's, Qwen's, "
            "Gemma's or Mistral's is accepted"
        ) from None


def fresh_shape(settings: FreshModel, vocabulary: int) -> Shape:
    """Of a model made from numbers."""
    width = settings.hidden_size
    return Shape(
        family="llama",
        layers=settings.layers,
        hidden=width,
        intermediate=settings.inner_width,
        heads=settings.heads,
        kv_heads=settings.kv_heads or settings.heads,
        head_dim=width // settings.heads,
        vocabulary=vocabulary,
        tied=settings.tie_embeddings,
    )


def cut_shape(teacher: Shape, settings: CutModel, used_tokens: int) -> Shape:
    """Of a student that is a part of its teacher.

    Args:
        used_tokens: what a vocabulary that is pruned to the corpus is taken to keep.
    """
    layers, heads = settings.layers, settings.heads or teacher.heads
    number = layers if isinstance(layers, int) else len(layers) if layers else teacher.layers
    vocabulary = teacher.vocabulary
    if settings.vocabulary == "corpus":
        vocabulary = min(vocabulary, used_tokens)
    return replace(
        teacher,
        layers=number,
        heads=heads,
        kv_heads=max(1, teacher.kv_heads * heads // teacher.heads),
        intermediate=settings.intermediate_size or teacher.intermediate,
        vocabulary=vocabulary,
    )
