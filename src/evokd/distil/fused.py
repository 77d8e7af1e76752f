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
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from evokd.distil.closed_forms import Rows
from evokd.distil.gradients import Gradients, wide
from evokd.distil.objectives import OBJECTIVES, WITHOUT_TEACHER, objective_settings
from evokd.distil.ranking import RANKED_BY, Choice, TokenQueue, choose, scores
from evokd.distil.rows import has_row_pass, row_pass
from evokd.distil.statistics import Statistics, rows_of
from evokd.distil.tokens import IGNORED, ObjectiveSettings, Tokens, log_odds_against
from evokd.models.heads import Head

BUFFER_BYTES = {"cpu": 60 << 20, "cuda": 1 << 30}
"""What the logits of a chunk may take, student's and teacher's together."""
_LEAST_ROWS, _MOST_ROWS = 128, {"cpu": 512, "cuda": 4096}


class TeacherLogits(Protocol):
    """What a teacher says of N response tokens, handed out a chunk at a time."""

    def logits(self, rows: slice, size: int, out: Tensor | None = None) -> Tensor:
        """(n, size), the logits of some of the tokens over the first `size` vocabulary entries.

        Written into `out`, (n, size) and float32 or wider, where that is given.
        """
        ...


def fused_loss(
    objective: str | Callable[[Tokens], Tensor],
    student_hidden: Tensor,
    student_head: Tensor | Head,
    teacher_hidden: Tensor | None,
    teacher_head: Tensor | Head | None,
    labels: Tensor,
    *,
    weights: Tensor | None = None,
    betas: Tensor | None = None,
    memory: TokenQueue | None = None,
    vocabulary_size: int | None = None,
    chunk_tokens: int | None = None,
    **settings: Any,
) -> Tensor:
    """Mean loss of an objective over the labels that aren't −100, from hidden states and heads.

    Example:
        loss = evokd.fused_loss("self_evolution", h, W, h_teacher, W_teacher, labels, gamma=0.4)
        loss.backward()  # h.grad and W.grad; no logits were stored

    Args:
        objective: a name of `OBJECTIVES`, or a function from `Tokens` to (N,).
        student_hidden: (N, Hs), the states that predict the labels; differentiable.
        student_head: (V, Hs), differentiable; a `Head` where there is bias, scale or soft cap.
        teacher_hidden: (N, Ht) or None for objectives without a teacher.
        teacher_head: (V, Ht), or a `Head`.
        labels: (N,), ids below V; −100 marks a position without a loss.
        weights: (N,), factors of the tokens' losses; the mean is still over their number.
        betas: (N,), 0 to 1, β of each token where the objective has a proxy; constants.
        memory: what selective_kd remembers from call to call, if its `queue` is above 0.
        vocabulary_size: entries that both vocabularies share, where they differ.
        chunk_tokens: rows of logits that stand in memory at once; default: what 60 MiB hold (on a
            GPU: 1 GiB).
        **settings: fields of `ObjectiveSettings`; the papers' defaults otherwise.

    Returns:
        Scalar in nats, float32 or wider. Its gradients are computed already: backward() hands them
        out, once.

    Raises:
        ValueError: an unknown objective or setting, shapes that don't fit, a missing teacher.
    """
    from evokd.distil.teachers import HeadedHidden

    known = objective if isinstance(objective, str) else "noevo"
    chosen = objective_settings(known, **settings)
    head = _head(student_head)
    _check_shapes(student_hidden, head, labels, "student")
    teacher = None
    size = head.weight.shape[0]
    kept = labels != IGNORED
    whole = bool(kept.all())
    if teacher_hidden is not None and teacher_head is not None:
        other = _head(teacher_head)
        _check_shapes(teacher_hidden, other, labels, "teacher")
        if other.weight.shape[0] != size and vocabulary_size is None:
            raise ValueError(
                f"the student's head has {size} entries, the teacher's {other.weight.shape[0]}; "
                "pass vocabulary_size, the number that they share"
            )
        seen = teacher_hidden.detach()
        teacher = HeadedHidden(seen if whole else seen[kept], _constant(other))
    elif isinstance(objective, str) and objective not in WITHOUT_TEACHER:
        raise ValueError(f"{objective} needs teacher_hidden and teacher_head")
    if not whole:
        student_hidden, labels = student_hidden[kept], labels[kept]
        weights = None if weights is None else weights[kept]
        betas = None if betas is None else betas[kept]
    # Weights rather than a division: so the gradients are final when they are computed.
    mean = torch.full_like(labels, 1 / max(1, len(labels)), dtype=wide(student_hidden))
    return objective_on_hidden(
        objective,
        chosen,
        student_hidden,
        head,
        teacher,
        labels,
        weights=mean if weights is None else mean * weights,
        betas=betas,
        memory=memory,
        vocabulary_size=vocabulary_size,
        chunk_tokens=chunk_tokens,
    )


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
        head=_constant(student_head),
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


@dataclass
class Buffers:
    """Memory for the logits of a chunk: fresh pages cost more than the arithmetic on them."""

    _kept: dict[str, Tensor] = field(default_factory=dict)

    def of(self, name: str, rows: int, size: int, like: Tensor) -> Tensor:
        """(rows, size) of float32 or wider, with anything in it; rows start at whole 64 bytes."""
        stride = -(-size // 16) * 16
        kept, dtype = self._kept.get(name), wide(like)
        known = kept is not None and (kept.dtype, kept.device) == (dtype, like.device)
        if kept is None or not known or kept.numel() < rows * stride:
            self._kept.pop(name, None)  # first, so that old and new never stand side by side
            kept = torch.empty(rows * stride, dtype=dtype, device=like.device)
            self._kept[name] = kept
        return kept[: rows * stride].view(rows, stride)[:, :size]


def _head(given: Tensor | Head) -> Head:
    return given if isinstance(given, Head) else Head(given)


def _constant(head: Head) -> Head:
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
        each = self.chunk_tokens or _rows_at_once(self.size, self.teacher is not None, like)
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


def _rows_at_once(size: int, has_teacher: bool, like: Tensor) -> int:
    device = "cpu" if like.device.type == "cpu" else "cuda"
    row = size * (8 if like.dtype == torch.float64 else 4) * (2 if has_teacher else 1)
    return min(max(BUFFER_BYTES[device] // row, _LEAST_ROWS), _MOST_ROWS[device])


def _check_losses(losses: Tensor, labels: Tensor) -> None:
    if losses.shape != labels.shape:
        raise ValueError(
            f"an objective gives one loss per token, {tuple(labels.shape)} here; "
            f"found {tuple(losses.shape)}"
        )


def _check_shapes(hidden: Tensor, head: Head, labels: Tensor, whose: str) -> None:
    if hidden.dim() != 2 or labels.shape != hidden.shape[:1]:
        raise ValueError(
            f"the {whose}'s hidden states {tuple(hidden.shape)} and labels {tuple(labels.shape)} "
            "don't fit; (N, H) and (N,) are accepted"
        )
    if head.weight.shape[1] != hidden.shape[1]:
        raise ValueError(
            f"the {whose}'s head {tuple(head.weight.shape)} and hidden states "
            f"{tuple(hidden.shape)} don't fit; (V, H) and (N, H) are accepted"
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
