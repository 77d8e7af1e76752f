"""One pass over a chunk of logits: losses per token, and gradients in place of the logits.

On a CPU the pass is `rows.c`; where there is no compiler, and for float64, it is torch, some rows
at a time. On a GPU it is the kernel of `kernels.py`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from evokd.distil.row_loss import rows_in_c
from evokd.distil.row_loss.closed_forms import (
    CROSS,
    FORWARD,
    LINEAR,
    MIXED,
    NLL,
    REVERSE,
    SKEW,
    ClosedForm,
    Rows,
    closed_form,
)
from evokd.distil.tokens import ObjectiveSettings
from evokd.models.lm_head import apply_softcap

_LOGITS_AT_ONCE = 1 << 19
"""What torch works on at a time, so that what it makes on the way stays in the cache."""


def has_row_pass(
    objective: str,
    settings: ObjectiveSettings,
    device: torch.device,
    *,
    given: bool = False,
    per_token: bool = False,
) -> bool:
    """Whether `row_pass` is the way to an objective: it has a closed form there, a GPU's kernel
    knows it. `given` and `per_token` are those of `closed_form`."""
    if closed_form(objective, settings, given=given, per_token=per_token) is None:
        return False
    return device.type != "cuda" or not _kernel_stands() or _kernel_knows(objective, settings)


def row_pass(
    objective: str,
    settings: ObjectiveSettings,
    student: Tensor,
    teacher: Tensor | None,
    labels: Tensor,
    weights: Tensor | None = None,
    hard: Tensor | None = None,
    *,
    scale: float = 1.0,
    cap: float | None = None,
    gradient: bool = True,
) -> Rows:
    """Losses of n tokens; the student's logits become ∂(Σ_i w_i loss_i)/∂ raw if `gradient`.

    Args:
        objective: one that has a closed form.
        student: (n, V), logits before the head's scale and soft cap; overwritten in any case.
        teacher: (n, V), finished logits; may be overwritten.
        labels: (n,), ids below V.
        weights: (n,), 1 for each by default.
        hard: (n,) bool, the hard set where it was chosen elsewhere; None: d > Γ.
        scale, cap: of the student's head.
    """
    form = closed_form(objective, settings, given=hard is not None)
    if form is None:
        raise ValueError(f"{objective} has no closed form with these settings")
    on_gpu = student.device.type == "cuda"
    if on_gpu and _kernel_stands() and _kernel_knows(objective, settings):
        from evokd.distil.row_loss import kernels

        return kernels.row_pass(
            objective,
            settings,
            student,
            teacher,
            labels,
            weights,
            hard,
            scale=scale,
            cap=cap,
            gradient=gradient,
        )
    apply_softcap(student, scale, cap)
    arguments = (form, student, teacher, labels, weights, hard, scale, cap, gradient)
    if _is_float_on_cpu(student) and (teacher is None or _is_float_on_cpu(teacher)):
        compiled = rows_in_c.load()
        if compiled is not None:
            return rows_in_c.rows_in_c(compiled, *arguments)
    return _in_torch(*arguments)


def _kernel_stands() -> bool:
    from evokd.distil.row_loss import kernels

    return kernels.available()


def _kernel_knows(objective: str, settings: ObjectiveSettings) -> bool:
    from evokd.distil.row_loss import kernels

    return kernels.knows(objective, settings)


def _is_float_on_cpu(logits: Tensor) -> bool:
    return logits.device.type == "cpu" and logits.dtype == torch.float32 and logits.stride(-1) == 1


@torch.no_grad()
def _in_torch(
    form: ClosedForm,
    student: Tensor,
    teacher: Tensor | None,
    labels: Tensor,
    weights: Tensor | None,
    hard: Tensor | None,
    scale: float,
    cap: float | None,
    gradient: bool,
) -> Rows:
    """The same in torch, some rows at a time."""
    at_once = max(1, _LOGITS_AT_ONCE // max(1, student.shape[1]))
    parts = []
    for start in range(0, len(student), at_once):
        rows = slice(start, start + at_once)
        parts.append(
            _some_rows(
                form,
                student[rows],
                None if teacher is None else teacher[rows],
                labels[rows],
                None if weights is None else weights[rows],
                None if hard is None else hard[rows],
                scale,
                cap,
                gradient,
            )
        )
    if not parts:
        empty = student.new_zeros(0)
        return Rows(empty, empty, empty, empty, empty.bool(), empty)
    found: dict[str, Any] = {}
    for name in vars(parts[0]):
        column = [getattr(part, name) for part in parts]
        found[name] = None if column[0] is None else torch.cat(column)
    return Rows(**found)


def _some_rows(
    form: ClosedForm,
    student: Tensor,
    teacher: Tensor | None,
    labels: Tensor,
    weights: Tensor | None,
    hard: Tensor | None,
    scale: float,
    cap: float | None,
    gradient: bool,
) -> Rows:
    at = labels[:, None]
    q, lse_s = _softmax(student)
    nll = lse_s - student.gather(1, at)[:, 0].double()
    divergence = difficulty = teacher_nll = forward = p_log_q = p = None
    if teacher is not None:
        p, lse_t = _softmax(teacher)
        log_p_y = teacher.gather(1, at)[:, 0].double() - lse_t
        p_log_p = _expectation(p, teacher) - lse_t
        p_log_q = _expectation(p, student) - lse_s
        forward, teacher_nll = p_log_p - p_log_q, -log_p_y
        difficulty = nll
        if form.lam > 0:
            difficulty = _difficulty(form.lam, log_p_y.exp(), p_log_p, p_log_q, nll)
        if hard is None:
            hard = difficulty.to(student.dtype) > form.gamma
    chosen = torch.arange(len(labels), device=labels.device)
    if form.gated and hard is not None:
        chosen = (~hard if form.swapped else hard).nonzero()[:, 0]
    evolved = None
    if p is not None and form.form == SKEW:
        divergence, evolved = _skew(
            form, q.index_select(0, chosen), p.index_select(0, chosen), labels[chosen], gradient
        )
    elif p is not None and teacher is not None and form.form == REVERSE:
        apart = (student - lse_s[:, None]).sub_(teacher - lse_t[:, None]).to(q.dtype)
        divergence, evolved = _reverse(form, q, apart, labels, gradient)
    loss = _loss(form, nll, difficulty, forward, p_log_q, divergence, chosen)
    norm = None
    if gradient:
        gradients = evolved
        if form.form == LINEAR or form.gated or gradients is None:
            gradients = q if p is None or form.share == 0 else q.sub_(p, alpha=form.share)
            gradients.scatter_add_(1, at, gradients.new_full(at.shape, form.share - 1))
            if evolved is not None:
                gradients.index_copy_(0, chosen, evolved)
        _before_head(gradients, student, weights, scale, cap)
        norm = torch.linalg.vector_norm(gradients, dim=1)
        student.copy_(gradients)
    dtype = student.dtype
    if difficulty is None or teacher_nll is None:
        return Rows(loss.to(dtype), nll.to(dtype), gradient_norm=norm)
    return Rows(
        loss.to(dtype), nll.to(dtype), difficulty.to(dtype), teacher_nll.to(dtype), hard, norm
    )


def _softmax(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities (n, V), and log-sum-exp (n,) in float64, from the likeliest entry."""
    most = logits.amax(1, keepdim=True)
    # Not torch.softmax: its exponentials on a CPU are good to some 20 ulp only.
    powers = (logits - most).exp_()
    total = powers.sum(1, keepdim=True)
    return powers.mul_(total.reciprocal()), (most.double() + total.double().log())[:, 0]


def _expectation(p: Tensor, values: Tensor) -> Tensor:
    """(n,), Σ p a in float64, with 0 · −∞ = 0."""
    found = _dot(p, values)
    if found.isnan().any():
        found = _dot(p, values.clamp(min=-1e9))
    return found.double()


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(n,), row by row; a sum in a tree, where BLAS adds up one by one."""
    return (a * b).sum(1)


def _before_head(
    gradients: Tensor, finished: Tensor, weights: Tensor | None, scale: float, cap: float | None
) -> None:
    """From gradients of finished logits to weighted ones of raw logits, in place."""
    if cap is not None:
        gradients.mul_(1 - (finished / cap).square_())
    if weights is not None:
        gradients.mul_((weights * scale)[:, None].to(gradients.dtype))
    elif scale != 1.0:
        gradients.mul_(scale)


def _difficulty(lam: float, p_y: Tensor, p_log_p: Tensor, p_log_q: Tensor, nll: Tensor) -> Tensor:
    """d = Σ ỹ ln ỹ − Σ ỹ ln q from sums over p: ỹ is λ p but at the label."""
    on_label = lam * p_y + 1 - lam
    off_label = lam * (p_log_p - torch.xlogy(p_y, p_y)) + lam * math.log(lam) * (1 - p_y)
    return off_label + torch.xlogy(on_label, on_label) - lam * p_log_q + (1 - lam) * nll


def _skew(
    form: ClosedForm, q: Tensor, p: Tensor, labels: Tensor, gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Divergence of each row, and reference · (q − y) + kl · its gradient. Overwrites p."""
    at = labels[:, None]
    tau = p.mul_(form.share) if form.share != 1 else p
    tau.scatter_add_(1, at, tau.new_full(at.shape, 1 - form.share))
    proxy = torch.lerp(tau, q, form.beta).clamp_(min=torch.finfo(q.dtype).tiny)
    r = torch.div(tau, proxy, out=proxy)
    divergence = _dot(tau, r.clamp(min=torch.finfo(q.dtype).tiny).log_())
    if not gradient:
        return divergence.double(), None
    bent = form.kl * form.beta
    constant = form.reference + bent * _dot(q, r)
    gradients = r.mul_(-bent).add_(constant[:, None]).mul_(q)
    gradients.scatter_add_(1, at, gradients.new_full(at.shape, -form.reference))
    return divergence.double(), gradients


def _reverse(
    form: ClosedForm, q: Tensor, apart: Tensor, labels: Tensor, gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """As _skew, from ln q − ln p, which is overwritten."""
    at = labels[:, None]
    divergence = _dot(q, apart)
    if not gradient:
        return divergence.double(), None
    gradients = apart.sub_(divergence[:, None]).mul_(form.kl).add_(form.reference).mul_(q)
    gradients.scatter_add_(1, at, gradients.new_full(at.shape, -form.reference))
    return divergence.double(), gradients


def _loss(
    form: ClosedForm,
    nll: Tensor,
    difficulty: Tensor | None,
    forward: Tensor | None,
    p_log_q: Tensor | None,
    divergence: Tensor | None,
    chosen: Tensor,
) -> Tensor:
    if form.loss == NLL or difficulty is None or forward is None or p_log_q is None:
        return nll
    if form.loss in (FORWARD, CROSS):
        teachers = forward if form.loss == FORWARD else -p_log_q
        return (1 - form.share) * nll + (form.share * teachers if form.share > 0 else 0)
    if divergence is None:
        return difficulty
    if form.loss == MIXED:
        return form.reference * nll + (form.kl * divergence if form.kl > 0 else 0)
    loss = difficulty.clone()
    loss[chosen] = divergence
    return loss
