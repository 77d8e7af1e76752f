"""An objective applied to hidden states: the full logits of a batch never exist.

The tokens of a batch pass through the two heads a chunk at a time. A chunk's gradient is taken
while its logits are at hand, so that nothing of size tokens × vocabulary outlives its chunk and
nothing is computed twice: what is kept is the gradient of the hidden states and of the head. That
takes four matrix products, the least there is, and two buffers that all chunks share.

An objective with a closed form takes one pass over the chunk's rows (`row_loss`), any other
function of `Tokens` autograd, some rows at a time. One that ranks the tokens of a batch passes over
them twice, the first time for their scores (`token_selection.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from evokd.distil.buffers import rows_at_once, wide
from evokd.distil.gradients import Gradients
from evokd.distil.objectives import loss_function
from evokd.distil.row_loss.closed_forms import ClosedForm, closed_form
from evokd.distil.row_loss.rows import has_row_pass, row_pass
from evokd.distil.statistics import TokenStats, stats_of
from evokd.distil.token_batch import LogitChunk, LossOptions, TeacherLogits, TokenBatch
from evokd.distil.token_selection import scores, select
from evokd.distil.tokens import Selection, Tokens, log_odds_against
from evokd.models.lm_head import softcapped
from evokd.recipe.objectives import OBJECTIVES, spec_of

Objective = str | Callable[[Tokens], Tensor]
"""A name or an address (`loss_function`), or a function from `Tokens` to a loss per token (N,)."""
_CACHED_LOGITS = 1 << 19
"""Logits that autograd works on at a time on a CPU, so that what it makes stays in the cache."""
_SCORED_BY = {("nll",): "sft", ("difficulty",): "noevo"}
"""Objectives whose loss is the score that others rank tokens by."""


def chunked_loss(
    objective: Objective,
    batch: TokenBatch,
    teacher: TeacherLogits | None,
    options: LossOptions | None = None,
) -> Tensor:
    """Σ_i w_i · loss_i over N response tokens, differentiable in the hidden states and the head.

    Args:
        objective: a name, or a function from `Tokens` to (N,).
        batch: the tokens, on the student's side.
        teacher: the teacher on the same tokens, or None.
        options: the objective's settings, and what is kept from call to call.

    Under autocast a GPU's products are in its dtype; on a CPU, and in the objective everywhere, the
    arithmetic is float32 or wider.

    Returns:
        Scalar in nats, float32 or wider. Its gradients are computed already: backward() hands them
        out, once.

    Raises:
        ValueError: an unknown objective, or a missing teacher.
    """
    if isinstance(objective, str) and teacher is None and spec_of(objective).needs_teacher:
        raise ValueError(f"{objective} needs a teacher")
    learns = torch.is_grad_enabled()
    work = _Pass(objective, batch.constant(), teacher, options or LossOptions(), learns)
    # Autocast would round the sums over the vocabulary: vecdot is one of its half-precision ops.
    with torch.autocast(batch.hidden.device.type, enabled=False):
        work.select_tokens()
        loss: Tensor = _ChunkedLoss.apply(batch.hidden, batch.head.weight, batch.head.bias, work)
    return loss


@dataclass
class _Pass:
    """One way over the tokens of a batch, without what autograd follows."""

    objective: Objective
    batch: TokenBatch
    teacher: TeacherLogits | None
    options: LossOptions
    learns: bool
    """False: the loss is looked at only, as in an evaluation."""
    selection: Selection | None = None
    """What was selected of the batch, by an objective that ranks tokens."""

    @torch.no_grad()
    def select_tokens(self) -> None:
        name = self.objective
        if not isinstance(name, str) or not OBJECTIVES[name].ranked_by:
            return
        each = [self._scores(name, rows) for rows in self.slices()]
        scored = torch.cat(each) if each else self.batch.hidden.new_zeros(0, 1)
        options = self.options
        self.selection = select(name, scored, options.settings, options.history, self.learns)

    def slices(self) -> Iterator[slice]:
        """Of the tokens: as many as the memory for logits holds, of one length as nearly as may
        be."""
        batch, each = self.batch, self.options.chunk_tokens
        if each is None:
            dtypes = [self.batch.head.raw_dtype, *([self.teacher.dtype] if self.teacher else [])]
            most = rows_at_once(batch.vocabulary_size, dtypes, batch.hidden)
            each = max(1, -(-len(batch) // max(1, -(-len(batch) // most))))
        for start in range(0, len(batch), each):
            yield slice(start, min(start + each, len(batch)))

    def chunk(self, rows: slice, with_teacher: bool = True) -> LogitChunk:
        """Some of the tokens with their logits, in memory that all chunks share."""
        batch, head = self.batch, self.batch.head
        shape = rows.stop - rows.start, batch.vocabulary_size
        own = self.options.buffers.of("student", shape, batch.hidden, head.raw_dtype)
        return LogitChunk(
            student=head.raw(batch.hidden[rows], batch.vocabulary_size, own),
            teacher=self.teacher_logits(rows) if with_teacher and self.teacher else None,
            labels=batch.labels[rows],
            weights=None if batch.weights is None else batch.weights[rows],
            betas=None if batch.betas is None else batch.betas[rows],
            hard=None if self.selection is None else self.selection.hard[rows],
            scale=head.scale,
            cap=head.cap,
        )

    def teacher_logits(self, rows: slice) -> Tensor:
        """(n, V), finished."""
        assert self.teacher is not None
        shape = rows.stop - rows.start, self.batch.vocabulary_size
        out = self.options.buffers.of("teacher", shape, self.batch.hidden, self.teacher.dtype)
        return self.teacher.logits(rows, self.batch.vocabulary_size, out)

    def parts(self, chunk: LogitChunk) -> Iterator[LogitChunk]:
        """What autograd works on at a time: rows that fit a CPU's cache, on a GPU all."""
        count, size = chunk.student.shape
        on_cpu = chunk.student.device.type == "cpu"
        each = max(1, _CACHED_LOGITS // max(1, size)) if on_cpu else max(1, count)
        for start in range(0, count, each):
            yield chunk.part(slice(start, start + each))

    def tokens(self, chunk: LogitChunk) -> Tokens:
        """As an objective takes them, differentiable where the student's logits are."""
        selected = self.selection
        if selected is not None and chunk.hard is not None:
            selected = replace(selected, hard=chunk.hard)
        logits = softcapped(chunk.student, chunk.scale, chunk.cap)
        settings = self.options.settings
        return Tokens(logits, chunk.teacher, chunk.labels, settings, selected, chunk.betas)

    def run_chunk(self, rows: slice, gradient: bool) -> tuple[TokenStats, Tensor | None]:
        """What is seen of a chunk, and the gradient of its logits before scale and cap."""
        chunk = self.chunk(rows)
        form = self._closed_form() if has_row_pass(chunk) else None
        if form is None:
            stats = self._by_autograd(chunk, gradient)
        else:
            stats = row_pass(form, chunk, gradient)
        return stats, chunk.student if gradient else None

    def _closed_form(self) -> ClosedForm | None:
        if not isinstance(self.objective, str):
            return None
        return closed_form(
            self.objective,
            self.options.settings,
            preselected=self.selection is not None,
            per_token=self.batch.betas is not None,
        )

    def _by_autograd(self, chunk: LogitChunk, gradient: bool) -> TokenStats:
        """The gradient takes the place of the student's logits here as well."""
        objective = self.objective
        loss = loss_function(objective) if isinstance(objective, str) else objective
        seen = []
        for part in self.parts(chunk):
            leaf = replace(part, student=part.student.detach().requires_grad_(gradient))
            slope = None
            with torch.set_grad_enabled(gradient):
                tokens = self.tokens(leaf)
                losses = loss(tokens)
                _check_losses(losses, part.labels)
                if gradient:
                    weighted = losses if part.weights is None else losses * part.weights
                    slope = torch.autograd.grad(weighted.sum(), leaf.student)[0]
            seen.append(stats_of(tokens, losses.detach(), slope, bool(self.options.observers)))
            if slope is not None:
                part.student.copy_(slope)
        return TokenStats.join(seen)

    def _scores(self, name: str, rows: slice) -> Tensor:
        """(n, columns). A row pass is quicker than `Tokens`, and what one model alone decides takes
        its logits only."""
        ranked_by = OBJECTIVES[name].ranked_by
        if ranked_by == ("uncertainty",):
            return log_odds_against(self.teacher_logits(rows), self.batch.labels[rows])[:, None]
        chunk = self.chunk(rows, with_teacher=ranked_by != ("nll",))
        form = None
        if ranked_by in _SCORED_BY and has_row_pass(chunk):
            form = closed_form(_SCORED_BY[ranked_by], self.options.settings)
        if form is not None:
            return row_pass(form, chunk, gradient=False).loss[:, None]
        return torch.cat([scores(name, self.tokens(part)) for part in self.parts(chunk)])


class _ChunkedLoss(torch.autograd.Function):
    """Loss and gradients in one pass over the chunks, in the forward."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, work: _Pass
    ) -> Tensor:
        needed = [work.learns and x is not None and x.requires_grad for x in (hidden, weight, bias)]
        gradients = Gradients(work.batch, weight, bias, needed)
        total = torch.zeros((), dtype=wide(hidden), device=hidden.device)
        for rows in work.slices():
            stats, gradient = work.run_chunk(rows, any(needed))
            weights = work.batch.weights
            total += (stats.loss if weights is None else stats.loss * weights[rows]).sum()
            if gradient is not None:
                gradients.add(gradient, rows)
            for observe in work.options.observers:
                observe(stats)
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
