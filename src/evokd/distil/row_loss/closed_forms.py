"""What is known of an objective without autograd: its closed form, as numbers.

With z the student's logits, q = softmax(z), p the teacher, y the reference's one-hot,
τ = a p + (1 − a) y and q̂ = β q + (1 − β) τ:

    linear    KL(τ‖q)    ∂/∂z = q − τ
    skew      KL(τ‖q̂)   ∂/∂z_v = −β q_v (r_v − Σ_u q_u r_u),   r = τ/q̂
    reverse   KL(q‖p)    ∂/∂z_v = q_v (ln q_v − ln p_v − KL(q‖p))

`rows.c` computes them on a CPU, `rows_in_triton.py` on a GPU; what they have to agree with is
`evokd.distil.objectives`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from evokd.recipe.objectives import ObjectiveSettings

LINEAR, SKEW, REVERSE = range(3)
NLL, DIFFICULTY, FORWARD, MIXED, CROSS = range(5)
EVERY, HARD, EASY, VOUCHED = range(4)
_TAKERS = {"hard": HARD, "inverted": EASY, "vouched": VOUCHED}


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
    takers: int = EVERY
    """The tokens that take the form: EVERY, HARD or EASY ones, or HARD ones whose reference the
    teacher disbelieves (VOUCHED); the others are linear."""
    doubt: float = 0.0
    """δ of VOUCHED."""


def closed_form(
    objective: str,
    settings: ObjectiveSettings,
    *,
    preselected: bool = False,
    per_token: bool = False,
) -> ClosedForm | None:
    """An objective of `objectives.LOSSES` in numbers; None: its gradient is autograd's.

    Args:
        preselected: the hard set is known, so that it doesn't matter what is compared with Γ.
        per_token: tokens have a β of their own each.
    """
    lam, beta, alpha = settings.lam, settings.beta, settings.alpha
    compares_d = preselected or settings.difficulty == "kl"
    if objective == "self_evolution" and (settings.gate == "smooth" or not compares_d):
        return None
    if settings.target_lam is not None:
        return None
    if isinstance(beta, str) or per_token:
        if objective in ("skew", "skew_teacher", "self_evolution", "self_evolution_topk"):
            return None
        beta = 0.0

    def of(form: int, loss: int, share: float = lam, **more: Any) -> ClosedForm:
        return ClosedForm(form, loss, lam, share, beta, settings.gamma, **more)

    if lam == 0 and objective in ("skew_teacher", "reverse_kd"):
        return of(LINEAR, FORWARD)  # no teacher in it: 0 · ∞ would be no number
    mixed = {"reference": 1 - lam, "kl": lam}
    # At β = 1 the proxy is the student itself, and q may be 0 in float32 where τ isn't.
    proxy = SKEW if beta < 1 else LINEAR
    forms = {
        "sft": of(LINEAR, NLL, 0.0),
        "forward_kd": of(LINEAR, FORWARD),
        "noevo": of(LINEAR, DIFFICULTY),
        "skew": of(proxy, DIFFICULTY),
        "self_evolution": of(
            proxy, DIFFICULTY, takers=_TAKERS.get(settings.gate, HARD), doubt=settings.doubt
        ),
        "self_evolution_topk": of(proxy, DIFFICULTY, takers=HARD),
        "skew_teacher": of(SKEW, MIXED, 1.0, **mixed) if beta < 1 else of(LINEAR, FORWARD),
        "reverse_kd": of(REVERSE, MIXED, **mixed),
        "word_kd": of(LINEAR, CROSS, alpha),
        # A skew form with the teacher as its target; at α = 0 the proxy is the student itself.
        "skl": replace(of(SKEW, MIXED, 1.0), beta=1 - alpha)
        if alpha > 0
        else of(LINEAR, FORWARD, 1.0),
    }
    return forms.get(objective)
