"""The response tokens of a batch, from the trainer to the loss in one bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from evokd.distil.buffers import Buffers
from evokd.distil.statistics import TokenStats
from evokd.distil.token_selection import TokenHistory
from evokd.models.lm_head import Head
from evokd.recipe.objectives import ObjectiveSettings


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

    def part(self, rows: slice) -> LogitChunk:
        """Some of the rows."""
        columns = {
            name: None if one is None else one[rows]
            for name in ("student", "teacher", "labels", "weights", "betas", "hard")
            for one in [getattr(self, name)]
        }
        return replace(self, **columns)  # type: ignore[arg-type]


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


def constant_head(head: Head) -> Head:
    """The head without gradients; on a GPU its weight cast once where autocast is on."""
    device, dtype = head.weight.device.type, head.weight.dtype
    if device != "cpu" and torch.is_autocast_enabled(device) and dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
    return head.map(lambda tensor: tensor.detach().to(dtype))
