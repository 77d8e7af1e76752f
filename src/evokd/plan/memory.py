"""Bytes on a device while a student trains, part by part, at the worst moment of a step.

    P, T weights of student and teacher, N devices that share them (1 unless fsdp2)

    weights      4 P/N in float32, 2 P/N in bfloat16 (+ 2 P/N of Kahan's compensation)
    gradients    like the weights; under ddp twice: its buckets are copies
    optimizer    8 P/N for AdamW, 2 P/N for 8-bit states
    teacher      4 or 2 T/N, ½ T/N in 4 bits (+ scales); a head alone of a cache of hidden states
    activations  `activations.py`; nothing where a step ends
    head         V·h of gradient in float32; gathered heads under fsdp2
    loss         logits of a chunk, student's and teacher's
    runtime      the process, or CUDA's context, and what an allocator can't fill

A step has four moments (`moments`); memory is what the worst of them takes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

from evokd.plan import activations
from evokd.plan.activations import Precision, Tokens
from evokd.plan.devices import GIB
from evokd.plan.placement import Formats, Placement
from evokd.plan.shapes import Shape

BUFFER_BYTES = {"cpu": 125 << 20, "gpu": 1 << 30}
"""What a chunk's logits may take (`distil.buffers`)."""
LEAST_ROWS, MOST_ROWS = 128, {"cpu": 512, "gpu": 4096}
RUNTIME = {"cpu": 0.5 * GIB, "gpu": 1.5 * GIB}
"""Of a process with its libraries, measured; of CUDA's context and NCCL, from what others tell."""
UNFILLED = {"cpu": 0.0, "gpu": 0.05}
"""Share of all else that an allocator holds and can't use."""


@dataclass(frozen=True)
class Parts:
    """Bytes of each part of a device's memory."""

    weights: float = 0.0
    gradients: float = 0.0
    optimizer: float = 0.0
    teacher: float = 0.0
    activations: float = 0.0
    head: float = 0.0
    loss: float = 0.0
    runtime: float = 0.0

    @property
    def total(self) -> float:
        return sum(getattr(self, field.name) for field in fields(self))

    def with_runtime(self, device: str) -> Parts:
        """And what stands beside them all."""
        beside = RUNTIME[device] + UNFILLED[device] * self.total
        return Parts(**{**self.__dict__, "runtime": beside})

    def in_gib(self) -> dict[str, float]:
        """Name → GiB, `total` the last."""
        found = {field.name: getattr(self, field.name) / GIB for field in fields(self)}
        return {name: round(gib, 3) for name, gib in (found | {"total": self.total / GIB}).items()}


@dataclass(frozen=True)
class Training:
    """One training, as far as memory asks."""

    student: Shape
    formats: Formats
    placement: Placement
    tokens: Tokens
    """Of a micro-batch, at its longest."""
    responses: int
    """Response tokens of it."""
    accumulates: bool
    """Whether a step has several micro-batches, so that gradients outlive one."""
    checkpointing: bool = False
    teacher: Shape | None = None
    """None: there is none beside the student."""
    signal: str = "live"
    chunk_tokens: int | None = None
    device: str = "gpu"

    @property
    def shards(self) -> int:
        return self.placement.shards

    @property
    def precision(self) -> Precision:
        """What the student computes in: fsdp2 gathers bfloat16 weights where others cast them."""
        if not self.formats.half:
            return "float32"
        sharded = self.placement.kind == "fsdp2" or self.formats.weights < 4
        return "bfloat16" if sharded else "autocast"


def training_memory(training: Training) -> Parts:
    """The parts at the worst moment of a step."""
    worst = max(moments(training).values(), key=lambda parts: parts.total)
    return worst.with_runtime(training.device)


def moments(training: Training) -> dict[str, Parts]:
    """What stands in memory at each moment of a step that may be the worst one."""
    own, formats, shape = training.placement, training.formats, training.student
    tokens, precision = training.tokens, training.precision
    gradient = formats.gradients_of(shape) * own.gradient_copies / own.shards
    layer, head = _in_layer(training), _heads(training)
    between = gradient if training.accumulates else 0.0
    always = Parts(
        weights=formats.weights_of(shape) / own.shards,
        optimizer=formats.optimizer_of(shape) / own.shards,
        teacher=_teacher(training),
        loss=_logits(training),
        gradients=between,
    )

    def at(gathered: float = 0.0, **more: float) -> Parts:
        parts = {**always.__dict__, **more}
        return Parts(**{**parts, "weights": parts["weights"] + gathered})

    cast = activations.cast_weights(shape, precision)
    one = activations.kept_of_layer(shape, tokens, precision) + cast
    passing = activations.backward_of_layer(shape, tokens, precision)
    whole = activations.whole(shape, tokens, precision, training.checkpointing)
    kept = whole - passing - one * training.checkpointing
    # In the backward pass of the first layer all others have their gradients, its embeddings don't.
    others = gradient * max(0.0, 1 - (shape.layer + shape.head) / shape.parameters)
    found = {
        "the teacher reads": at(activations=_teacher_passes(training)),
        "the forward pass ends": at(
            layer.forward,
            activations=kept
            + (shape.layers * cast + passing if training.checkpointing else passing),
        ),
        "the loss": at(activations=kept, head=head.loss),
        "the backward pass begins": at(2 * layer.forward, activations=whole, head=head.begins),
        "the first layer's backward pass": at(
            layer.backward,
            gradients=max(between, others),
            activations=one + passing,
            head=head.kept,
        ),
        "the embeddings' backward pass": at(
            (layer.backward - layer.forward) * shape.tied,
            gradients=gradient,
            activations=8.0 * tokens.number * shape.hidden,
            head=head.ends,
        ),
    }
    if own.shards > 1:  # the last layer's gradient goes out while the next layer comes in
        rest = whole if training.checkpointing else whole - one
        found["the last layer's backward pass"] = at(layer.backward, activations=rest)
    return found


class _Heads(NamedTuple):
    """Bytes of the head and its gradient beside the weights."""

    loss: float
    """While it is computed: a gradient in float32, and in half precision a copy of the head and a
    product that is added to the gradient."""
    begins: float
    kept: float
    """Until a tied embedding's own gradient is added to it."""
    ends: float


def _heads(training: Training) -> _Heads:
    shape, trained = training.student, training.formats.trains_all
    half = training.formats.half and (training.device == "gpu" or training.shards > 1)
    states = 4.0 * shape.hidden * (2 * training.responses + training.tokens.number)
    copies = (2.0 + 2.0 * trained) if half else 4.0 if training.shards > 1 else 0.0
    loss = (4.0 * trained + copies) * shape.head + states
    begins = 4.0 * trained * shape.head + states
    if training.shards > 1:  # gathered, its gradient, and that in float32 to be scattered
        last = (6.0 + 2.0 * shape.tied) * trained * shape.head
        return _Heads(loss, begins, 4.0 * trained * shape.tied * shape.head, last)
    kept = 4.0 * trained * shape.tied * shape.head
    again = 4.0 * trained * shape.head if training.accumulates else 0.0
    return _Heads(loss, begins, kept, kept + again)


@dataclass(frozen=True)
class _Gathered:
    """Bytes of whole layers that fsdp2 holds: one at work and one fetched ahead; going backward
    also a gradient in float32 that isn't scattered yet."""

    forward: float = 0.0
    backward: float = 0.0


def _in_layer(training: Training) -> _Gathered:
    if training.placement.kind != "fsdp2":
        return _Gathered()
    shape = training.student
    each = shape.layer * (2.0 if training.formats.half else 4.0)
    gradient = 4.0 * shape.layer if training.formats.trains_all else 0.0
    return _Gathered(each, 2 * each + gradient)


def _teacher(training: Training) -> float:
    """What stands of the teacher beside the student, all the time."""
    shape, size = training.teacher, training.formats.teacher
    if shape is None or training.signal == "topk":
        return 0.0
    if training.signal == "hidden":
        return shape.head * min(size, 4.0)
    weights = shape.parameters * size / training.shards
    if training.placement.kind == "fsdp2":
        weights += 2 * shape.layer * size + shape.head * size
    states = training.responses * shape.hidden * 4.0
    return weights + states


def _teacher_passes(training: Training) -> float:
    """What comes and goes while a live teacher reads the batch."""
    if training.teacher is None or training.signal != "live":
        return 0.0
    precision: Precision = "float32" if training.formats.teacher >= 4 else "bfloat16"
    return activations.forward_of_layer(training.teacher, training.tokens, precision)


def chunk_rows(vocabulary: int, bytes_per_row: float, device: str) -> int:
    """Tokens whose logits stand in memory at once (`distil.buffers.rows_at_once`)."""
    most = int(BUFFER_BYTES[device] // max(1.0, bytes_per_row))
    return min(max(most, LEAST_ROWS), MOST_ROWS[device])


def _logits(training: Training) -> float:
    vocabulary, on_cpu = training.student.vocabulary, training.device == "cpu"
    size = 4.0 if on_cpu or not training.formats.half else 2.0
    theirs = 0.0
    if training.teacher is not None:
        theirs = 4.0 if on_cpu or training.signal == "topk" else min(training.formats.teacher, 4.0)
        theirs = max(theirs, 2.0)
    row = vocabulary * (size + theirs)
    rows = training.chunk_tokens or chunk_rows(vocabulary, row, training.device)
    return min(rows, training.responses) * row
