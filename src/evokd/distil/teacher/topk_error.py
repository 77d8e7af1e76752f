"""What a top-k teacher costs: how far off difficulties and losses can be, and how far they are.

Let S be the entries whose probabilities are stored, T all others, τ = Σ_T p the mass that is left
for them, and p_k the smallest of the k: no entry of T is above it. The target ỹ is λ p on T, so the
true difficulty and the one from the stored distribution p′ differ by

    d′ − d = λ (f(p′) − f(p)),   f(p) = Σ_T p_v ln(p_v / q_v)

f is convex, and p lies in the polytope {0 ≤ p_v ≤ p_k, Σ_T p_v = τ}. There

    f ≥ τ ln(τ / Q),  Q = Σ_T q        (the log-sum inequality, attained by p ∝ q)
    f ≤ f at a corner of the polytope: ⌊τ/p_k⌋ entries are p_k, one has what is left; the worst
        corner puts them where q is smallest

so that |d′ − d| ≤ λ max(f(p′) − τ ln(τ/Q), f_corner − f(p′)). The loss of noevo is d; that of
forward_kd differs by the same amount; and its gradient with respect to the student's logits, q − ỹ,
is off by λ Σ_T |p′_v − p_v| ≤ 2 λ τ in sum. The same holds of skew losses with the mixture in q's
place, see `_Term`. Log-probabilities stored in float16 add a term of their own, see `_rounding`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from evokd.distil.diagnosis import response_chunks
from evokd.distil.teacher.signal import CachedTeacher, LiveTeacher, TeacherSignal, TopKLogits
from evokd.distil.tokens import Tokens, mixture
from evokd.recipe.objectives import ObjectiveSettings

_HALF = 2.0**-11 * 1.001
"""Half a unit in the last place of float16, relative to what is stored."""
_SUBNORMAL = 2.0**-25
"""The same, absolute, of numbers too small for that."""


BOUNDED = ("noevo", "forward_kd", "skew", "skew_teacher")
"""Objectives whose error has a bound; noevo's is that of d itself. self_evolution is noevo on easy
tokens and skew on hard ones; reverse_kd asks for ln p where p is smallest, which isn't known."""


@torch.no_grad()
def loss_error_bound(
    objective: str,
    stored: TopKLogits,
    student_logits: Tensor,
    lam: float = 0.5,
    beta: float = 1.0,
    *,
    rounded: bool = True,
) -> Tensor:
    """(N,), nats that the loss of each token is off at most.

    Args:
        objective: one of `BOUNDED`.
        stored: the stored distribution of N tokens.
        student_logits: (N, V), V the teacher's whole vocabulary.
        lam, beta: λ of Eq. 4, β of Eq. 6 or 10.
        rounded: the k log-probabilities were stored in float16.
    """
    if objective not in BOUNDED:
        raise ValueError(f"{objective!r} has no bound; {', '.join(BOUNDED)} have")
    mixed = objective in ("skew", "skew_teacher")
    # skew mixes the student with λ p, skew_teacher with p; the others with nothing.
    term = _Term(lam if objective == "skew" else 1.0, beta if mixed else 1.0)
    if lam == 0:
        return student_logits.new_zeros(len(student_logits), dtype=torch.float64)
    log_p = stored.logits(slice(None), stored.width).double()
    log_q = student_logits.double().log_softmax(-1)
    in_tail = torch.ones_like(log_p, dtype=torch.bool)
    in_tail.scatter_(1, stored.ids, False).scatter_(1, stored.labels[:, None], False)
    tail, last = stored.tail[:, None].double(), stored.values[:, -1:].double()
    # What was rounded down may have been a little more.
    cap = (last * (1.0 - _HALF) + _SUBNORMAL if rounded else last).exp()
    own = term.of(log_p.exp(), log_q).masked_fill(~in_tail, 0.0).sum(1)
    least = term.of(tail, log_q.masked_fill(~in_tail, -torch.inf).logsumexp(1, keepdim=True))
    most = _worst_corner(term, log_q, in_tail, tail, cap)
    bound = torch.maximum(own - least[:, 0], most - own).clamp(min=0.0)
    bound = lam / term.part * torch.where(in_tail.any(1) & (tail[:, 0] > 0), bound, 0.0)
    return bound + (_rounding(stored, log_p, log_q, lam, term) if rounded else 0.0)


@dataclass(frozen=True)
class _Term:
    """What an entry with probability p adds to a divergence: a ln(a / (β q + (1 − β) a)).

    a is `part` · p. Convex in a, falling in q, and the faster in q the larger a is: so the largest
    shares on the smallest q are the worst corner for any β.
    """

    part: float
    beta: float

    def of(self, p: Tensor, log_q: Tensor) -> Tensor:
        a = self.part * p
        log_mixed = mixture(log_q, a.log(), self.beta)
        return torch.xlogy(a, a) - (a * log_mixed).masked_fill(a == 0, 0.0)


def _worst_corner(term: _Term, log_q: Tensor, in_tail: Tensor, tail: Tensor, cap: Tensor) -> Tensor:
    """(N,), the largest divergence: as much as an entry can have, where the student has least."""
    ascending = log_q.masked_fill(~in_tail, torch.inf).sort(dim=1).values
    count = in_tail.sum(1, keepdim=True)
    cap = torch.maximum(cap, tail / count.clamp(min=1))  # so that the entries can hold all of it
    before = torch.arange(log_q.shape[1], device=log_q.device) * cap
    shares = torch.minimum((tail - before).clamp(min=0.0), cap)
    shares = shares.masked_fill(ascending == torch.inf, 0.0)
    return term.of(shares, ascending.masked_fill(ascending == torch.inf, 0.0)).sum(1)


def _rounding(stored: TopKLogits, log_p: Tensor, log_q: Tensor, lam: float, term: _Term) -> Tensor:
    """(N,), what float16 adds: ln p_v is off by ε_v = |ln p_v| / 2048 at most on the k entries.

    Normalising moves all of p by another factor, e^η at most, η = ln(1 + Σ p_v (e^ε_v − 1)). The
    term of an entry has a slope of |ln(a / (β q + (1 − β) a))| + 1 at most, so the change is at
    most λ p_v (e^(ε_v+η) − 1) times the largest one on the way.
    """
    p = log_p.exp()
    epsilon = torch.zeros_like(p).scatter_(
        1, stored.ids, stored.values.double().abs() * _HALF + _SUBNORMAL
    )
    epsilon.scatter_(1, stored.labels[:, None], 0.0)  # the reference is stored in float32
    eta = torch.log1p((p * torch.expm1(epsilon)).sum(1, keepdim=True))
    change = epsilon + eta
    slope = torch.zeros_like(p)
    # Of p alone and of the target, which holds the reference: one of them is the objective's.
    for part, label in ((1.0, 0.0), (lam, 1.0 - lam)):
        a = (part * p).scatter_add_(1, stored.labels[:, None], torch.full_like(p[:, :1], label))
        slope = torch.maximum(slope, (a.log() - mixture(log_q, a.log(), term.beta)).abs())
    slope = (slope + 1.0 + change).masked_fill(p == 0, 0.0)
    return lam * (p * torch.expm1(change) * slope).sum(1)


@torch.no_grad()
def measure_error(
    cached: CachedTeacher,
    teacher: nn.Module,
    student: nn.Module,
    batches: Iterable[dict[str, Tensor]],
    size: int,
    settings: ObjectiveSettings,
) -> dict[str, Any]:
    """Difficulty from a top-k cache beside the exact one, token by token.

    Args:
        batches: input_ids, attention_mask, labels, each (B, T), on the models' device.
        size: vocabulary entries that teacher and student share.

    Returns:
        tokens, mean and largest |d′ − d| in nats, mean d, the share of tokens that change from hard
        to easy or back at Γ, and the mean of the bound (None where the vocabularies are cut: it is
        for the teacher's own).
    """
    signals: list[TeacherSignal] = [LiveTeacher(teacher), cached]
    rounded = cached.spec.dtype == "float16"
    columns: list[Tensor] = []
    for batch in batches:
        for rows, labels, logits, teachers in response_chunks(student, signals, batch):
            logits, stored = logits[:, :size], teachers[1]
            both = [
                Tokens(logits, one.logits(rows, size), labels, settings).difficulty.double()
                for one in teachers
            ]
            bound = torch.full_like(both[0], torch.nan)
            if isinstance(stored, TopKLogits) and stored.width == size:
                some = stored.cut(rows)
                bound = loss_error_bound("noevo", some, logits, settings.lam, rounded=rounded)
            columns.append(torch.stack([*both, bound], dim=1).cpu())
    exact_d, stored_d, bounds = torch.cat(columns).T
    gap = (stored_d - exact_d).abs()
    flipped = (stored_d > settings.gamma) != (exact_d > settings.gamma)
    return {
        "tokens": len(gap),
        "gamma": settings.gamma,
        "mean_difficulty": float(exact_d.mean()),
        "error_mean": float(gap.mean()),
        "error_max": float(gap.max()),
        "flipped_share": float(flipped.double().mean()),
        "bound_mean": None if bounds.isnan().any() else float(bounds.mean()),
    }
