"""The response tokens of a batch, from the trainer to the loss in one bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from evokd.distil.buffers import Buffers, rows_at_once
from evokd.distil.metrics import TokenStats
from evokd.distil.token_selection import TokenHistory
from evokd.distil.tokens import IGNORED, Tokens
from evokd.models.lm_head import Head, apply_softcap, softcapped
from evokd.recipe.objectives import ObjectiveSettings

_CACHED_LOGITS = 1 << 19
"""Logits that autograd works on at a time on a CPU, so that what it makes stays in the cache."""


class TeacherLogits(Protocol):
    """A teacher's logits of N response tokens, handed out a chunk at a time."""

    @property
    def dtype(self) -> torch.dtype:
        """What they are written in without a loss on a GPU, where a half-precision head multiplies
        in half precision."""
        ...

    def logits(self, rows: slice, size: int, out: Tensor | None = None) -> Tensor:
        """(n, size), the logits of some of the tokens over the first `size` vocabulary entries.

        Written into `out`, (n, size) and `dtype` or wider, where that is given.
        """
        ...


@dataclass(frozen=True)
class TokenBatch:
    """N response tokens, and the head that their logits are made with."""

    hidden: Tensor
    """(N, H), the student's states that predict the labels; differentiable."""
    head: Head
    """The student's, weight (V, H); differentiable."""
    labels: Tensor
    """(N,), reference token ids below `vocabulary_size`."""
    vocabulary_size: int
    """Vocabulary entries that student and teacher share; both are cut to them."""
    weights: Tensor | None = None
    """(N,), factors of the tokens' losses; None: 1 for each."""
    betas: Tensor | None = None
    """(N,), 0 to 1, β of each token where the objective has a proxy, without a gradient; None: one
    for all."""

    def __len__(self) -> int:
        return len(self.labels)

    def constant(self) -> TokenBatch:
        """The same without gradients; on a GPU the head cast once where autocast is on."""
        return replace(self, hidden=self.hidden.detach(), head=constant_head(self.head))

    def slices(self, teacher: TeacherLogits | None, each: int | None = None) -> Iterator[slice]:
        """Slices of the tokens, `each` long; None: what the memory for logits holds, of one length
        as nearly as may be."""
        count = len(self)
        if each is None:
            dtypes = [self.head.raw_dtype] + ([] if teacher is None else [teacher.dtype])
            most = rows_at_once(self.vocabulary_size, dtypes, self.hidden)
            each = max(1, -(-count // max(1, -(-count // most))))
        for start in range(0, count, each):
            yield slice(start, min(start + each, count))

    def chunk(self, rows: slice, teacher: TeacherLogits | None, buffers: Buffers) -> LogitChunk:
        """Some of the tokens with their logits, in memory that all chunks share."""
        shape = rows.stop - rows.start, self.vocabulary_size
        own = buffers.of("student", shape, self.hidden, self.head.raw_dtype)
        return LogitChunk(
            student=self.head.raw(self.hidden[rows], self.vocabulary_size, own),
            teacher=None if teacher is None else self.teacher_logits(rows, teacher, buffers),
            labels=self.labels[rows],
            weights=None if self.weights is None else self.weights[rows],
            betas=None if self.betas is None else self.betas[rows],
            scale=self.head.scale,
            cap=self.head.cap,
        )

    def teacher_logits(self, rows: slice, teacher: TeacherLogits, buffers: Buffers) -> Tensor:
        """(n, size), finished, in memory that all chunks share."""
        shape = rows.stop - rows.start, self.vocabulary_size
        out = buffers.of("teacher", shape, self.hidden, teacher.dtype)
        return teacher.logits(rows, self.vocabulary_size, out)


@dataclass(frozen=True)
class LogitChunk:
    """n tokens of a batch with their logits."""

    student: Tensor
    """(n, V), before the head's scale and soft cap."""
    teacher: Tensor | None
    """(n, V), finished; None: there is none."""
    labels: Tensor
    """(n,)"""
    weights: Tensor | None = None
    """(n,), factors of the losses."""
    betas: Tensor | None = None
    """(n,), β of each token."""
    hard: Tensor | None = None
    """(n,) bool, the hard set where it was selected before."""
    scale: float = 1.0
    cap: float | None = None

    def tokens(self, settings: ObjectiveSettings, share: float | None = None) -> Tokens:
        """As an objective takes them, differentiable where `student` is."""
        student = softcapped(self.student, self.scale, self.cap)
        rest = (self.hard, share, self.betas)
        return Tokens(student, self.teacher, self.labels, settings, *rest)

    def finish(self) -> None:
        """Apply the head's scale and soft cap to `student`, in place."""
        apply_softcap(self.student, self.scale, self.cap)

    def parts(self) -> Iterator[LogitChunk]:
        """Some rows at a time on a CPU, as many as its cache holds; on a GPU all."""
        count, size = self.student.shape
        each = (
            count if self.student.device.type != "cpu" else max(1, _CACHED_LOGITS // max(1, size))
        )
        for start in range(0, count, max(1, each)):
            rows = slice(start, start + each)
            columns = {
                name: None if one is None else one[rows]
                for name in ("student", "teacher", "labels", "weights", "betas", "hard")
                for one in [getattr(self, name)]
            }
            yield replace(self, **columns)  # type: ignore[arg-type]


@dataclass(frozen=True)
class LossOptions:
    """How a loss is computed, apart from the tokens."""

    settings: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    history: TokenHistory | None = None
    """What selective_kd ranks against, if its `queue` is above 0; left as it is under no_grad."""
    chunk_tokens: int | None = None
    """Rows of logits that stand in memory at once; default: what BUFFER_BYTES hold."""
    observers: tuple[Callable[[TokenStats], None], ...] = ()
    """Called in the forward pass with what each chunk gave, in the tokens' order."""
    buffers: Buffers = field(default_factory=Buffers)
    """The memory that the logits stand in, kept from call to call."""


def target_mask(labels: Tensor) -> Tensor:
    """(B, T), where the next token is a target: the state at position t predicts that at t + 1."""
    mask = torch.zeros_like(labels, dtype=torch.bool)
    mask[:, :-1] = labels[:, 1:] != IGNORED
    return mask


def constant_head(head: Head) -> Head:
    """The head without gradients; on a GPU its weight cast once where autocast is on."""
    weight, bias = head.weight.detach(), None if head.bias is None else head.bias.detach()
    device = weight.device.type
    if device != "cpu" and torch.is_autocast_enabled(device) and weight.dtype != torch.float64:
        weight = weight.to(torch.get_autocast_dtype(device))
        bias = None if bias is None else bias.to(weight.dtype)
    return replace(head, weight=weight, bias=bias)
