"""Rivals of the vouched gate, as objectives: other measures of a teacher's disbelief, and
`truncated`, which asks the student alone; none did better.

A plugin that a recipe names: `plugins: [evokd_extras.disbelief]` (docs/results.md has the command).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from evokd.distil.objectives import LOSSES, skew
from evokd.distil.tokens import Tokens
from evokd.recipe.objectives import OBJECTIVES, ObjectiveSpec

Measure = Callable[[Tokens], Tensor]
"""From N tokens to (N,) nats."""


def excess(t: Tokens) -> Tensor:
    """−ln p(y) − H(p): 0 on average for a calibrated teacher."""
    return t.teacher_nll - t.p.entropy


def below_mode(t: Tokens) -> Tensor:
    """By how much the reference is less likely than the likeliest token."""
    return t.p.log.amax(1) + t.teacher_nll


def tail(t: Tokens) -> Tensor:
    """−ln of the mass of the tokens that are no likelier than the reference, a p-value."""
    no_likelier = t.p.log <= -t.teacher_nll[:, None]
    return -torch.where(no_likelier, t.p.probabilities, 0.0).sum(1).log()


def surprisal(t: Tokens) -> Tensor:
    """−ln p(y), whatever H(p)."""
    return t.teacher_nll


def half_excess(t: Tokens) -> Tensor:
    """−ln p(y) − H(p) / 2."""
    return t.teacher_nll - 0.5 * t.p.entropy


def span(t: Tokens) -> Tensor:
    """The mean of −ln p(y) over a token and its neighbours, at a sentence's ends the next one's."""
    return avg_pool1d(t.teacher_nll[None], 3, 1, padding=1, count_include_pad=False)[0]


def nothing(t: Tokens) -> Tensor:
    """0: a token is left out."""
    return torch.zeros_like(t.nll)


def teacher_alone(t: Tokens) -> Tensor:
    """KL(p‖q), without the reference."""
    return t.forward_kl


def gated(measure: Measure, limit: float, instead: Measure = skew) -> Callable[[Tokens], Tensor]:
    """Eq. 9, but a hard token gets the proxy's or another loss only where a measure is above a
    limit."""

    def loss(t: Tokens) -> Tensor:
        doubted = t.hard() & (measure(t) > limit)
        return torch.where(doubted, instead(t), t.difficulty)

    return loss


def truncated(t: Tokens) -> Tensor:
    """noevo without what is hard. With difficulty: nll and gamma: {rule: running_quantile} this is
    loss truncation (Kang and Hashimoto 2020), by token."""
    return torch.where(t.hard(), 0.0, t.difficulty)


GATES = {
    "excess_1": gated(excess, 1.0),
    "excess_2": gated(excess, 2.0),
    "surprisal_2": gated(surprisal, 2.0),
    "half_excess_15": gated(half_excess, 1.5),
    "below_mode_3": gated(below_mode, 3.0),
    "tail_3": gated(tail, 3.0),
    "span_2": gated(span, 2.0),
    "left_out_2": gated(surprisal, 2.0, instead=nothing),
    "teacher_alone_2": gated(surprisal, 2.0, instead=teacher_alone),
}
LOSSES |= {**GATES, "truncated": truncated}
OBJECTIVES |= {
    name: ObjectiveSpec("as Eq. 9, another gate", "ours", ("lam", "beta", "gamma"))
    for name in GATES
}
OBJECTIVES["truncated"] = ObjectiveSpec(
    "d where d ≤ Γ, else 0", "Kang and Hashimoto 2020", ("lam", "gamma", "difficulty")
)
