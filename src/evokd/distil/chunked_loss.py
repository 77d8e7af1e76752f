"""An objective applied to hidden states: the full logits of a batch never exist.

The tokens of a batch pass through the two heads a chunk at a time. A chunk's gradient is taken
while its logits are at hand, so that nothing of size tokens × vocabulary outlives its chunk and
nothing is computed twice: what is kept is the gradient of the hidden states and of the head. That
takes four matrix products, the least there is, and two buffers that all chunks share.

The paper's objectives have closed forms, one pass over the chunk's rows (`rows.py`). Any other
function of `Tokens` runs here as well, through autograd on the chunk. An objective that chooses
among the tokens of a batch passes over them twice, the first time for their scores (`ranking.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from evokd.distil.buffers import Buffers, rows_at_once
from evokd.distil.gradients import Gradients, wide
from evokd.distil.metrics import Statistics, rows_of
from evokd.distil.objectives import OBJECTIVES, WITHOUT_TEACHER
from evokd.distil.row_loss.closed_forms import Rows
from evokd.distil.row_loss.rows import has_row_pass, row_pass
from evokd.distil.token_selection import RANKED_BY, Choice, TokenQueue, choose, scores
from evokd.distil.tokens import ObjectiveSettings, Tokens, log_odds_against
from evokd.models.lm_head import Head


class TeacherLogits(Protocol):
    """What a teacher says of N response tokens, handed out a chunk at a time."""

    def logits(self, rows: slice, size: int, out: Tensor | None = None) -> Tensor:
        """(n, size), the logits of some of the tokens over the first `size` vocabulary entries.

        Written into `out`, (n, size) and float32 or wider, where that is given.
        """
        ...


def objective_on_hidden(
    objective: str | Callable[[Tokens], Tensor],
    settings: ObjectiveSettings,
    student_hidden: Tensor,
    student_head: Head,
    teacher: TeacherLogits | None,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    betas: Tensor | None = None,
    memory: TokenQueue | None = None,
    vocabulary_size: int | None = None,
    chunk_tokens: int | None = None,
    statistics: Statistics | None = None,
    watch: Callable[[Rows], None] | None = None,
    buffers: Buffers | None = None,
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
        betas: (N,), 0 to 1, β of each token where the objective has a proxy; without a gradient.
        memory: what selective_kd remembers from call to call, if its `queue` is above 0; left as it
            is under no_grad.
        vocabulary_size: entries that student and teacher share; both are cut to them.
        chunk_tokens: rows of logits that stand in memory at once; default: what BUFFER_BYTES hold.
        statistics: if given, sums of what was seen are added to it.
        watch: called in the forward pass with what was found of each chunk, in the tokens' order.
        buffers: if given, the memory that the logits stand in, kept from call to call.

    Under autocast a GPU's products are in its dtype; on a CPU, and in the objective everywhere, the
    arithmetic is float32 or wider.

    Returns:
        Scalar in nats, float32 or wider.
    """
    name = objective if isinstance(objective, str) else ""
    if teacher is None and name and name not in WITHOUT_TEACHER:
        raise ValueError(f"{name} needs a teacher")
    watchers = [] if watch is None else [watch]
    if statistics is not None:
        watchers.append(statistics.count)
    work = _Work(
        name=name,
        loss=OBJECTIVES[objective] if isinstance(objective, str) else objective,
        settings=settings,
        head=constant(student_head),
        teacher=teacher,
        labels=labels,
        weights=weights,
        size=vocabulary_size or student_head.weight.shape[0],
        chunk_tokens=chunk_tokens,
        betas=betas,
        watchers=watchers,
        buffers=buffers or Buffers(),
        learns=torch.is_grad_enabled(),
    )
    # Autocast would round the sums over the vocabulary: vecdot is one of its half-precision ops.
    with torch.autocast(student_hidden.device.type, enabled=False):
        if name in RANKED_BY:
            found = _scores(work, student_hidden.detach())
            work.choice = choose(name, found, settings, memory, work.learns)
        loss: Tensor = _ChunkedLoss.apply(
            student_hidden, student_head.weight, student_head.bias, work
        )
    return loss


def constant(head: Head) -> Head:
    """The head without gradients; on a GPU its weight cast once where autocast is on."""
    weight, bias = head.weight.detach(), None if head.bias is None else head.bias.detach()
    device = weight.device.type
    if device != "cpu" and torch.is_autocast_enabled(device) and weight.dtype != torch.float64:
        weight = weight.to(torch.get_autocast_dtype(device))
        bias = None if bias is None else bias.to(weight.dtype)
    return replace(head, weight=weight, bias=bias)


@dataclass
class _Work:
    """What one call works on, apart from the tensors that autograd follows."""

    name: str
    loss: Callable[[Tokens], Tensor]
    settings: ObjectiveSettings
    head: Head
    teacher: TeacherLogits | None
    labels: Tensor
    weights: Tensor | None
    betas: Tensor | None
    size: int
    chunk_tokens: int | None
    watchers: list[Callable[[Rows], None]]
    """Called with what was found of each chunk."""
    buffers: Buffers
    learns: bool
    """False: the loss is looked at only, as in an evaluation."""
    choice: Choice | None = None
    """What was chosen of the batch, by an objective that does."""

    def chunks(self, like: Tensor) -> Iterator[slice]:
        """Slices of the tokens, of one length as nearly as may be."""
        count = len(self.labels)
        each = self.chunk_tokens or rows_at_once(self.size, self.teacher is not None, like)
        if self.chunk_tokens is None:
            each = max(1, -(-count // max(1, -(-count // each))))
        for start in range(0, count, each):
            yield slice(start, min(start + each, count))

    def teacher_logits(self, rows: slice, like: Tensor) -> Tensor | None:
        if self.teacher is None:
            return None
        out = self.buffers.of("teacher", rows.stop - rows.start, self.size, like)
        return self.teacher.logits(rows, self.size, out)

    def raw_logits(self, hidden: Tensor, rows: slice) -> Tensor:
        """(n, size), the student's before scale and cap."""
        out = self.buffers.of("student", rows.stop - rows.start, self.size, hidden)
        return self.head.raw(hidden[rows], self.size, out)

    def tokens(self, raw: Tensor, teacher: Tensor | None, rows: slice) -> Tokens:
        return Tokens(
            self.head.finish(raw),
            teacher,
            self.labels[rows],
            self.settings,
            None if self.choice is None else self.choice.hard[rows],
            None if self.choice is None else self.choice.share,
            None if self.betas is None else self.betas[rows],
        )

    def pass_over(self, hidden: Tensor, rows: slice, gradient: bool) -> tuple[Rows, Tensor | None]:
        """What is found of a chunk, and the gradient of its logits before scale and cap."""
        options = {"given": self.choice is not None, "per_token": self.betas is not None}
        if self.name and has_row_pass(self.name, self.settings, hidden.device, **options):
            return self._in_closed_form(self.name, hidden, rows, gradient)
        return self._by_autograd(hidden, rows, gradient)

    def _in_closed_form(
        self, name: str, hidden: Tensor, rows: slice, gradient: bool
    ) -> tuple[Rows, Tensor | None]:
        logits = self.raw_logits(hidden, rows)
        found = row_pass(
            name,
            self.settings,
            logits,
            self.teacher_logits(rows, hidden),
            self.labels[rows],
            None if self.weights is None else self.weights[rows],
            None if self.choice is None else self.choice.hard[rows],
            scale=self.head.scale,
            cap=self.head.cap,
            gradient=gradient,
        )
        return found, logits if gradient else None

    def _by_autograd(
        self, hidden: Tensor, rows: slice, gradient: bool
    ) -> tuple[Rows, Tensor | None]:
        raw = self.raw_logits(hidden, rows).requires_grad_(gradient)
        with torch.set_grad_enabled(gradient):
            tokens = self.tokens(raw, self.teacher_logits(rows, hidden), rows)
            losses = self.loss(tokens)
            _check_losses(losses, tokens.labels)
            weighted = losses if self.weights is None else losses * self.weights[rows]
            found = torch.autograd.grad(weighted.sum(), raw)[0] if gradient else None
        return rows_of(tokens, losses.detach(), found, bool(self.watchers)), found


class _ChunkedLoss(torch.autograd.Function):
    """Loss and gradients in one pass over the chunks, in the forward."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, work: _Work
    ) -> Tensor:
        wanted = [work.learns and x is not None and x.requires_grad for x in (hidden, weight, bias)]
        hidden = hidden.detach()
        gradients = Gradients(hidden, weight, bias, work.head, work.size, wanted)
        total = torch.zeros((), dtype=wide(hidden), device=hidden.device)
        for rows in work.chunks(hidden):
            found, gradient = work.pass_over(hidden, rows, any(wanted))
            losses = found.loss if work.weights is None else found.loss * work.weights[rows]
            total += losses.sum()
            if gradient is not None:
                gradients.add(gradient, rows)
            for watch in work.watchers:
                watch(found)
        ctx.gradients = gradients.finished()
        return total

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            raise RuntimeError(
                "the gradients of this loss were handed out already: they are computed with it, "
                "once; compute the loss again for a second backward()"
            )
        factor = upstream[0]
        if factor.device.type != "cpu" or float(factor) != 1.0:
            for gradient in gradients:
                if gradient is not None:
                    gradient.mul_(factor.to(gradient.dtype))
        return (*gradients, None)


def _check_losses(losses: Tensor, labels: Tensor) -> None:
    if losses.shape != labels.shape:
        raise ValueError(
            f"an objective gives one loss per token, {tuple(labels.shape)} here; "
            f"found {tuple(losses.shape)}"
        )


@torch.no_grad()
def _scores(work: _Work, hidden: Tensor) -> Tensor:
    """(N, columns), the scores of all tokens, for an objective that chooses before it starts."""
    found = [_scores_of_chunk(work, hidden, rows) for rows in work.chunks(hidden)]
    return torch.cat(found) if found else hidden.new_zeros(0, len(RANKED_BY[work.name]))


def _scores_of_chunk(work: _Work, hidden: Tensor, rows: slice) -> Tensor:
    """A row pass is quicker than `Tokens`, and a single model's scores take its logits only."""
    names, labels = RANKED_BY[work.name], work.labels[rows]
    theirs = None if names == ("nll",) else work.teacher_logits(rows, hidden)
    if names == ("doubt",) and theirs is not None:
        return log_odds_against(theirs, labels)[:, None]
    own = work.raw_logits(hidden, rows)
    if len(names) > 1:
        return scores(work.name, work.tokens(own, theirs, rows))
    found = row_pass(
        "sft" if theirs is None else "noevo",
        work.settings,
        own,
        theirs,
        labels,
        scale=work.head.scale,
        cap=work.head.cap,
        gradient=False,
    )
    return (found.nll if found.difficulty is None else found.difficulty)[:, None]
