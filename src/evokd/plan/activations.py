"""What a decoder keeps of each token for its backward pass, tensor by tensor.

Counted off transformers' layers, (B, T) tokens, widths h and I, q for all queries:

    norms          x and x/σ of each, float32 (x/σ in the weights' format, but for Gemma's)
    projections    their input, once; under autocast a copy for each of q, k, v, gate, up
    attention      q, k, v (repeated where heads share them), output; log-sums, or (T, T) scores
    feed-forward   gate, act(gate), up, their product
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from evokd.plan.shapes import Shape

Precision = Literal["float32", "autocast", "bfloat16"]
"""float32 throughout; float32 weights under bfloat16 autocast; bfloat16 weights and states."""


class Tokens(NamedTuple):
    """What passes through a model at once."""

    rows: int
    length: int

    @property
    def number(self) -> int:
        return self.rows * self.length


def width(precision: Precision) -> int:
    """Bytes of a number that a linear layer puts out."""
    return 4 if precision == "float32" else 2


def kept_of_layer(shape: Shape, tokens: Tokens, precision: Precision) -> float:
    """Bytes of a layer, but for its weights' copies (`cast_weights`)."""
    size, kind, wide = width(precision), shape.kind, precision != "bfloat16"
    h, q = shape.hidden, shape.queries
    norms = kind.norms * (h * (4 + (4 if wide or kind.wide_norms else 2)) + 4)
    inputs = (5 if precision == "autocast" else 2) * h * size
    attention = 4 * q * size
    if kind.qk_norm:
        each = 8 if precision == "float32" or kind.wide_norms else 6
        attention += each * (q + shape.keys) + 4 * (shape.heads + shape.kv_heads)
    feed_forward = 4 * shape.intermediate * size
    scores = _scores(shape, tokens, size)
    return tokens.number * (norms + inputs + attention + feed_forward + scores)


def _scores(shape: Shape, tokens: Tokens, size: int) -> float:
    """Of a token: its row of each head's scores and probabilities, or a log-sum and a mask row."""
    if shape.kind.scores:
        return 8.0 * shape.heads * tokens.length
    return 4.0 * shape.heads + size * tokens.length


def kept_between_layers(shape: Shape, tokens: Tokens, precision: Precision) -> float:
    """Bytes of a layer's input, which is all that checkpointing keeps of it."""
    return tokens.number * shape.hidden * (2.0 if precision == "bfloat16" else 4.0)


def cast_weights(shape: Shape, precision: Precision) -> float:
    """Bytes of a layer's weights once more, in bfloat16: what autocast multiplies with."""
    return 2.0 * shape.linear if precision == "autocast" else 0.0


def backward_of_layer(shape: Shape, tokens: Tokens, precision: Precision) -> float:
    """Bytes that come and go in a layer's backward pass: gradients of its widest tensors."""
    size = width(precision)
    widest = 2 * shape.intermediate * size + 2 * shape.hidden * 4
    if shape.kind.scores:
        widest = max(widest, 3 * 4 * shape.heads * tokens.length)
    return float(tokens.number * widest)


def forward_of_layer(shape: Shape, tokens: Tokens, precision: Precision) -> float:
    """Bytes that come and go in a layer without a backward pass."""
    size = width(precision)
    widest = 3 * shape.intermediate * size + 3 * shape.hidden * 4
    if shape.kind.scores:
        widest = max(widest, 2 * 4 * shape.heads * tokens.length + 4 * shape.queries * size)
    return float(tokens.number * widest)


def whole(shape: Shape, tokens: Tokens, precision: Precision, checkpointing: bool) -> float:
    """Bytes when the backward pass begins: all layers, or what is between them and one anew."""
    final_norm = 8.0 * shape.hidden * tokens.number
    layer = kept_of_layer(shape, tokens, precision) + cast_weights(shape, precision)
    passing = backward_of_layer(shape, tokens, precision)
    if checkpointing:
        between = shape.layers * kept_between_layers(shape, tokens, precision)
        return between + layer + passing + final_norm
    return shape.layers * layer + passing + final_norm
