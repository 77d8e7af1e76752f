"""Hours from arithmetic: what a stage multiplies, and how fast a device does it.

A token's forward pass takes 2 FLOP a weight and 4 T q for attention over T tokens; the backward
pass twice that, and once more where activations are computed again. Logits are made of response
tokens alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from evokd.plan.memory import Training
from evokd.plan.shapes import Shape


@dataclass(frozen=True)
class Amount:
    """Text that a stage reads."""

    pairs: float
    tokens: float
    """Of a pair, prompt and response."""
    responses: float
    """Of its tokens."""

    def times(self, factor: float) -> Amount:
        return Amount(self.pairs * factor, self.tokens, self.responses)

    @property
    def all_tokens(self) -> float:
        return self.pairs * self.tokens

    @property
    def all_responses(self) -> float:
        return self.pairs * self.responses


def model_flops(student: Shape, teacher: Shape | None, text: Amount, live: bool = True) -> float:
    """Of a training on some text: what the method asks for, nothing twice."""
    read, answered = text.all_tokens, text.all_responses
    total = 3 * (read * student.forward_flops(text.tokens) + answered * student.head_flops)
    if teacher is not None:
        total += answered * teacher.head_flops
        total += read * teacher.forward_flops(text.tokens) if live else 0.0
    return total


def training_flops(training: Training, text: Amount) -> float:
    """What a device works: activations that are computed again count, weights that aren't trained
    need no gradient."""
    live = training.signal == "live"
    total = model_flops(training.student, training.teacher, text, live)
    forward = text.all_tokens * training.student.forward_flops(text.tokens)
    total += forward if training.checkpointing else 0.0
    return total - (0.0 if training.formats.trains_all else forward)


def forward_flops(shape: Shape, text: Amount) -> float:
    """Of a model that reads some text once."""
    return (
        text.all_tokens * shape.forward_flops(text.tokens) + text.all_responses * shape.head_flops
    )


def decoding_seconds(
    shape: Shape, size: float, text: Amount, rows: float, bandwidth: float, beams: int
) -> float:
    """Of a greedy or beam search: each step reads all weights once for its rows, at half of the
    bandwidth.

    Args:
        size: bytes of a weight.
        rows: sentences at once.
    """
    steps = text.all_responses / max(1.0, rows)
    return steps * beams**0.5 * shape.parameters * size / (0.5 * bandwidth)
