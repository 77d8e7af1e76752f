"""What is known of an objective without autograd: its closed form, as numbers.

With z the student's logits, q = softmax(z), p the teacher, y the reference's one-hot,
τ = a p + (1 − a) y and q̂ = β q + (1 − β) τ:

    linear    KL(τ‖q)    ∂/∂z = q − τ
    skew      KL(τ‖q̂)   ∂/∂z_v = −β q_v (r_v − Σ_u q_u r_u),   r = τ/q̂
    reverse   KL(q‖p)    ∂/∂z_v = q_v (ln q_v − ln p_v − KL(q‖p))

`rows.py` computes them; what they have to agree with is `objectives.py` and `related.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from evokd.distil.tokens import ObjectiveSettings

LINEAR, SKEW, REVERSE = range(3)
NLL, DIFFICULTY, FORWARD, MIXED, CROSS = range(5)
_WITH_PROXY = frozenset({"skew", "skew_teacher", "self_evolution", "self_evolution_topk"})


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
    measured: Tensor | None = None
    """What was compared with Γ, where that isn't the difficulty itself."""


@dataclass(frozen=True)
class ClosedForm:
    """An objective as numbers: gradient = reference · (q − y) + kl · (the form's), and its loss."""

    form: int
    loss: int
    """NLL; DIFFICULTY: the form's divergence; FORWARD: (1 − a) NLL + a KL(p‖q); MIXED: reference ·
    NLL + kl · the form's divergence; CROSS: (1 − a) NLL + a CE(p, q)."""
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
    swapped: bool = False
    """Only the others take it, if it is gated."""


def closed_form(
    objective: str, settings: ObjectiveSettings, *, given: bool = False, per_token: bool = False
) -> ClosedForm | None:
    """An objective of `objectives.OBJECTIVES` in numbers; None: its gradient is autograd's.

    Args:
        given: the hard set is known, so that it doesn't matter what is compared with Γ.
        per_token: tokens have a β of their own each.
    """
    if not _has_one(objective, settings, given, per_token):
        return None
    lam, beta, gamma, alpha = settings.lam, settings.beta, settings.gamma, settings.alpha

    def of(form: int, loss: int, share: float = lam, **more: Any) -> ClosedForm:
        return ClosedForm(form, loss, lam, share, beta, gamma, **more)

    mixed = {"reference": 1 - lam, "kl": lam}
    forms = {
        "sft": of(LINEAR, NLL, 0.0),
        "forward_kd": of(LINEAR, FORWARD),
        "noevo": of(LINEAR, DIFFICULTY),
        # At β = 1 the proxy is the student itself, and q may be 0 in float32 where τ isn't.
        "skew": of(SKEW if beta < 1 else LINEAR, DIFFICULTY),
        "self_evolution": of(
            SKEW if beta < 1 else LINEAR, DIFFICULTY, gated=True, swapped=settings.gate == "swapped"
        ),
        "self_evolution_topk": of(SKEW if beta < 1 else LINEAR, DIFFICULTY, gated=True),
        "skew_teacher": of(SKEW, MIXED, 1.0, **mixed) if beta < 1 else of(LINEAR, FORWARD),
        "reverse_kd": of(REVERSE, MIXED, **mixed),
        "word_kd": of(LINEAR, CROSS, alpha),
        # A skew form with the teacher as its target; at α = 0 the proxy is the student itself.
        "skl": replace(of(SKEW, MIXED, 1.0), beta=1 - alpha)
        if alpha > 0
        else of(LINEAR, FORWARD, 1.0),
    }
    if lam == 0 and objective in ("skew_teacher", "reverse_kd"):
        return of(LINEAR, FORWARD)  # no teacher in it: 0 · ∞ would be no number
    return forms.get(objective)


def _has_one(objective: str, settings: ObjectiveSettings, given: bool, per_token: bool) -> bool:
    if settings.target_lam is not None:
        return False
    if objective in _WITH_PROXY and (per_token or settings.beta_from):
        return False
    if objective != "self_evolution":
        return True
    return settings.gate != "smooth" and (given or settings.measure == "kl")
