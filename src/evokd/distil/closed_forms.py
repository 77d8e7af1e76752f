"""What is known of an objective without autograd: its closed form, as numbers.

With z the student's logits, q = softmax(z), p the teacher, y the reference's one-hot,
τ = a p + (1 − a) y and q̂ = β q + (1 − β) τ:

    linear    KL(τ‖q)    ∂/∂z = q − τ
    skew      KL(τ‖q̂)   ∂/∂z_v = −β q_v (r_v − Σ_u q_u r_u),   r = τ/q̂
    reverse   KL(q‖p)    ∂/∂z_v = q_v (ln q_v − ln p_v − KL(q‖p))

`rows.py` computes them; what they have to agree with is `objectives.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from evokd.distil.objectives import ObjectiveSettings

LINEAR, SKEW, REVERSE = range(3)
NLL, DIFFICULTY, FORWARD, MIXED = range(4)


@dataclass(frozen=True)
class Rows:
    """What one pass found, each (n,), float32 or wider; None where there was no teacher, and
    `gradient_norm` also where no gradient was asked for."""

    loss: Tensor
    """Of each token, not weighted."""
    nll: Tensor
    difficulty: Tensor | None = None
    teacher_nll: Tensor | None = None
    hard: Tensor | None = None
    """bool"""
    gradient_norm: Tensor | None = None
    """L2 norm of the gradient of the weighted loss over a token's logits."""


@dataclass(frozen=True)
class ClosedForm:
    """An objective as numbers: gradient = reference · (q − y) + kl · (the form's), and its loss."""

    form: int
    loss: int
    """NLL; DIFFICULTY: the form's divergence; FORWARD: (1 − λ) NLL + λ KL(p‖q); MIXED: reference ·
    NLL + kl · the form's divergence."""
    lam: float
    """The teacher's share in the target of d."""
    share: float
    """The teacher's share a in the target τ of the linear and the skew form."""
    beta: float
    gamma: float
    reference: float = 0.0
    kl: float = 1.0
    gated: bool = False
    """Only hard tokens take the form; the others are linear."""


def closed_form(objective: str, settings: ObjectiveSettings) -> ClosedForm | None:
    """An objective of `objectives.OBJECTIVES` in numbers; None: its gradient is autograd's."""
    lam, beta, gamma = settings.lam, settings.beta, settings.gamma

    def of(form: int, loss: int, share: float = lam, **more: Any) -> ClosedForm:
        return ClosedForm(form, loss, lam, share, beta, gamma, **more)

    mixed = {"reference": 1 - lam, "kl": lam}
    forms = {
        "sft": of(LINEAR, NLL, 0.0),
        "forward_kd": of(LINEAR, FORWARD),
        "noevo": of(LINEAR, DIFFICULTY),
        # At β = 1 the proxy is the student itself, and q may be 0 in float32 where τ isn't.
        "skew": of(SKEW if beta < 1 else LINEAR, DIFFICULTY),
        "self_evolution": of(SKEW if beta < 1 else LINEAR, DIFFICULTY, gated=True),
        "self_evolution_topk": of(SKEW if beta < 1 else LINEAR, DIFFICULTY, gated=True),
        "skew_teacher": of(SKEW, MIXED, 1.0, **mixed) if beta < 1 else of(LINEAR, FORWARD),
        "reverse_kd": of(REVERSE, MIXED, **mixed),
    }
    if lam == 0 and objective in ("skew_teacher", "reverse_kd"):
        return of(LINEAR, FORWARD)  # no teacher in it: 0 · ∞ would be no number
    return forms.get(objective)
