"""An objective applied to hidden states: the full logits of a batch never exist.

The tokens of a batch pass through the two heads a chunk at a time. A chunk's gradient is taken
while its logits are at hand, so that nothing of size tokens × vocabulary outlives its chunk and
nothing is computed twice: what is kept is the gradient of the hidden states and of the head. Any
function of `objectives.OBJECTIVES` runs here unchanged, through autograd on the chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from evokd.distil.objectives import (
    OBJECTIVES,
    RANKS_TOKENS,
    ObjectiveSettings,
    Tokens,
    most_difficult,
)
from evokd.models.heads import Head


class TeacherLogits(Protocol):
    """What a teacher says of N response tokens, handed out a chunk at a time."""

    def logits(self, rows: slice, size: int) -> Tensor:
        """(n, size), the logits of some of the tokens over the first `size` vocabulary entries."""
        ...


SUMS = (
    *("tokens", "loss", "nll", "compared", "difficulty", "teacher_nll", "hard"),
    *("loss_hard", "loss_all", "gradient_hard", "gradient_all"),
)
"""All that statistics may hold; one device may have seen less than another."""


@dataclass
class Statistics:
    """Sums over response tokens, kept on their device until somebody asks.

    `sums` holds, each as a scalar tensor: tokens, loss, nll; of the tokens on which there was a
    teacher (compared) also difficulty, nats the teacher spends on the reference (teacher_nll), hard
    tokens, and loss and gradient (L2 norm over a token's logits) of hard tokens and of all.
    """

    sums: dict[str, Tensor]

    @classmethod
    def empty(cls) -> Statistics:
        return cls({})

    def add(self, **amounts: Tensor) -> None:
        for name, amount in amounts.items():
            amount = amount.detach().double() if amount.device.type == "cpu" else amount.detach()
            self.sums[name] = self.sums[name] + amount if name in self.sums else amount

    def means(self) -> dict[str, float]:
        """Per-token means and shares, under the names of the metrics file."""
        sums = {name: float(value) for name, value in self.sums.items()}
        tokens = sums.get("tokens", 0.0)
        if not tokens:
            return {}
        means = {"student_nll": sums["nll"] / tokens}
        compared = sums.get("compared", 0.0)
        if not compared:
            return means
        means |= {
            "noevo_loss": sums["difficulty"] / compared,
            "mean_difficulty": sums["difficulty"] / compared,
            "teacher_nll": sums["teacher_nll"] / compared,
            "hard_share": sums["hard"] / compared,
        }
        for what in ("loss", "gradient"):
            if sums.get(f"{what}_all"):
                share = sums[f"{what}_hard"] / sums[f"{what}_all"]
                short = "grad" if what == "gradient" else what
                means |= {f"{short}_share_hard": share, f"{short}_share_easy": 1.0 - share}
        return means


def objective_on_hidden(
    objective: str | Callable[[Tokens], Tensor],
    settings: ObjectiveSettings,
    student_hidden: Tensor,
    student_head: Head,
    teacher: TeacherLogits | None,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    vocabulary_size: int | None = None,
    chunk_tokens: int = 512,
    statistics: Statistics | None = None,
) -> Tensor:
    """Σ_i w_i · loss_i over N response tokens, differentiable in student_hidden and the head.

    Args:
        objective: a name of `OBJECTIVES`, or a function from `Tokens` to (N,).
        settings: its settings.
        student_hidden: (N, H), the hidden states that predict the labels.
        student_head: weight (V, H).
        teacher: the teacher on the same N tokens, or None.
        labels: (N,), ids below vocabulary_size.
        weights: (N,), 1 for each token by default.
        vocabulary_size: entries that student and teacher share; both are cut to them.
        chunk_tokens: rows of logits that stand in memory at once.
        statistics: if given, sums of what was seen are added to it.

    Under autocast the heads' products are in its dtype; the objective is float32 always.

    Returns:
        Scalar in nats, float32 or wider.
    """
    name = objective if isinstance(objective, str) else ""
    work = _Work(
        loss=OBJECTIVES[objective] if isinstance(objective, str) else objective,
        settings=settings,
        head=_constant(student_head),
        teacher=teacher,
        labels=labels,
        weights=weights,
        size=vocabulary_size or student_head.weight.shape[0],
        chunk_tokens=chunk_tokens,
        statistics=statistics,
        learns=torch.is_grad_enabled(),
    )
    # Autocast would round the sums over the vocabulary: vecdot is one of its half-precision ops.
    with torch.autocast(student_hidden.device.type, enabled=False):
        if name in RANKS_TOKENS:
            work.hard = most_difficult(
                _difficulties(work, student_hidden.detach()), settings.top_percent
            )
        loss: Tensor = _ChunkedLoss.apply(
            student_hidden, student_head.weight, student_head.bias, work
        )
    return loss


def _constant(head: Head) -> Head:
    """The head without gradients, its weight cast once for all chunks where autocast is on."""
    weight, bias = head.weight.detach(), None if head.bias is None else head.bias.detach()
    device = weight.device.type
    if torch.is_autocast_enabled(device) and weight.dtype != torch.float64:
        weight = weight.to(torch.get_autocast_dtype(device))
        bias = None if bias is None else bias.to(weight.dtype)
    return replace(head, weight=weight, bias=bias)


@dataclass
class _Work:
    """What one call works on, apart from the tensors that autograd follows."""

    loss: Callable[[Tokens], Tensor]
    settings: ObjectiveSettings
    head: Head
    teacher: TeacherLogits | None
    labels: Tensor
    weights: Tensor | None
    size: int
    chunk_tokens: int
    statistics: Statistics | None
    learns: bool
    """False: the loss is looked at only, as in an evaluation."""
    hard: Tensor | None = None

    def chunks(self) -> Iterator[slice]:
        for start in range(0, len(self.labels), self.chunk_tokens):
            yield slice(start, min(start + self.chunk_tokens, len(self.labels)))

    def tokens(self, logits: Tensor, rows: slice) -> Tokens:
        said = None if self.teacher is None else self.teacher.logits(rows, self.size)
        hard = None if self.hard is None else self.hard[rows]
        return Tokens(logits, said, self.labels[rows], self.settings, hard)


class _ChunkedLoss(torch.autograd.Function):
    """Loss and gradients in one pass over the chunks, in the forward."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, work: _Work
    ) -> Tensor:
        head, dtype = work.head, work.head.weight.dtype
        wanted = [work.learns and x is not None and x.requires_grad for x in (hidden, weight, bias)]
        grad_hidden = torch.zeros_like(hidden) if wanted[0] else None
        # Many chunks add up in here, so not in half precision.
        grad_weight = torch.zeros_like(weight, dtype=_wide(weight)) if wanted[1] else None
        grad_bias = torch.zeros_like(bias, dtype=_wide(weight)) if wanted[2] else None  # type: ignore[arg-type]
        total = torch.zeros((), dtype=_wide(hidden), device=hidden.device)
        for rows in work.chunks():
            raw = head.raw(hidden[rows].detach(), work.size)
            with torch.enable_grad():
                raw.requires_grad_(any(wanted))
                tokens = work.tokens(head.finish(raw), rows)
                losses = work.loss(tokens)
                _check_losses(losses, tokens.labels)
                weighted = losses if work.weights is None else losses * work.weights[rows]
                loss = weighted.sum()
            total += loss.detach()
            gradient = torch.autograd.grad(loss, raw)[0] if any(wanted) else None
            if gradient is not None:
                gradient = gradient.to(dtype)
                if grad_hidden is not None:
                    grad_hidden[rows] = (gradient @ head.weight[: work.size]).to(hidden.dtype)
                if grad_weight is not None:
                    grad_weight[: work.size] += gradient.t() @ hidden[rows].to(dtype)
                if grad_bias is not None:
                    grad_bias[: work.size] += gradient.sum(0)
            if work.statistics is not None:
                _count(work.statistics, tokens, losses.detach(), gradient)
        if grad_weight is not None:
            grad_weight = grad_weight.to(weight.dtype)
        if grad_bias is not None and bias is not None:
            grad_bias = grad_bias.to(bias.dtype)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (None if g is None else g * upstream[0].to(g.dtype) for g in ctx.saved_tensors)
        return (*scaled, None)


def _check_losses(losses: Tensor, labels: Tensor) -> None:
    if losses.shape != labels.shape:
        raise ValueError(
            f"an objective gives one loss per token, {tuple(labels.shape)} here; "
            f"found {tuple(losses.shape)}"
        )


@torch.no_grad()
def _difficulties(work: _Work, hidden: Tensor) -> Tensor:
    """(N,), d of every token, for objectives that rank a whole batch before they start."""
    found = [
        work.tokens(work.head.logits(hidden[rows], work.size), rows).difficulty
        for rows in work.chunks()
    ]
    return torch.cat(found) if found else hidden.new_zeros(0)


@torch.no_grad()
def _count(statistics: Statistics, tokens: Tokens, losses: Tensor, gradient: Tensor | None) -> None:
    statistics.add(
        tokens=torch.tensor(float(len(losses)), device=losses.device),
        loss=losses.sum(),
        nll=tokens.nll.sum(),
    )
    if not tokens.has_teacher:
        return
    hard = tokens.hard()
    statistics.add(
        compared=torch.tensor(float(len(losses)), device=losses.device),
        difficulty=tokens.difficulty.sum(),
        teacher_nll=tokens.teacher_nll.sum(),
        hard=hard.sum().float(),
        loss_hard=losses[hard].sum(),
        loss_all=losses.sum(),
    )
    if gradient is not None:
        sizes = gradient.float().norm(dim=-1)
        statistics.add(gradient_hard=sizes[hard].sum(), gradient_all=sizes.sum())


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
