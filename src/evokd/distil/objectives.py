"""Self-Evolution Knowledge Distillation and its baselines as equations, and all objectives by name.

Song, Ding, Zan and Huang: Self-Evolution Knowledge Distillation for LLM-based Machine Translation,
COLING 2025 (arXiv 2412.15303). Equation numbers below are that paper's; its letters, and what they
stand for, are in `tokens.py`. Objectives of other papers are in `related.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from evokd.distil.related import (
    akl,
    atkd,
    jsd,
    selective_kd,
    skl,
    srkl,
    tip,
    word_kd,
)
from evokd.distil.token_selection import (
    RANKED_BY,
    TokenQueue,
    choose,
    chosen,
    most_difficult,
    scores,
)
from evokd.distil.tokens import (
    CHOICES,
    IGNORED,
    Known,
    ObjectiveSettings,
    Tokens,
    kl,
    mixture,
)

__all__ = [
    "DEFAULTS",
    "IGNORED",
    "OBJECTIVES",
    "RANKS_TOKENS",
    "WITHOUT_TEACHER",
    "Known",
    "ObjectiveSettings",
    "Tokens",
    "akl",
    "atkd",
    "difficulty",
    "forward_kd",
    "jsd",
    "kl",
    "mixture",
    "most_difficult",
    "noevo",
    "objective_settings",
    "reverse_kd",
    "selective_kd",
    "self_evolution",
    "self_evolution_topk",
    "sft",
    "skew",
    "skew_teacher",
    "skl",
    "srkl",
    "tip",
    "token_loss",
    "word_kd",
]

# The objectives: Tokens → loss per token (N,). Each is one line of the paper.


def sft(t: Tokens) -> Tensor:
    """−ln q(y). Eq. 2."""
    return t.nll


def forward_kd(t: Tokens) -> Tensor:
    """(1 − λ) (−ln q(y)) + λ KL(p‖q). Eq. 3."""
    lam = t.settings.lam
    return (1 - lam) * t.nll + lam * t.forward_kl


def reverse_kd(t: Tokens) -> Tensor:
    """(1 − λ) (−ln q(y)) + λ KL(q‖p). Section 4.3, Baselines."""
    lam = t.settings.lam
    return (1 - lam) * t.nll + lam * t.reverse_kl


def noevo(t: Tokens) -> Tensor:
    """KL(ỹ‖q), every token easy. Section 4.3; the same gradient as forward_kd."""
    return t.difficulty


def skew(t: Tokens) -> Tensor:
    """KL(ỹ‖q̂), every token hard, q̂ = β q + (1 − β) ỹ. Eq. 6 and 7; section 4.3."""
    return t.target.kl_to(mixture(t.log_q, t.target.log, t.beta))


def skew_teacher(t: Tokens) -> Tensor:
    """(1 − λ) (−ln q(y)) + λ KL(p‖β q + (1 − β) p). Eq. 10."""
    lam = t.settings.lam
    return (1 - lam) * t.nll + lam * t.p.kl_to(mixture(t.log_q, t.p.log, t.beta))


def self_evolution(t: Tokens) -> Tensor:
    """KL(ỹ‖q̂) where d > Γ, KL(ỹ‖q) elsewhere. Eq. 9.

    Beyond the paper are gate "smooth", g KL(ỹ‖q̂) + (1 − g) KL(ỹ‖q) with g = σ((d − Γ)/τ) and
    without its gradient; gate "swapped", KL(ỹ‖q̂) where d ≤ Γ, as a control; and other measures of
    difficulty in the place of d.
    """
    gate = t.settings.gate
    if gate == "smooth":
        evolved = torch.sigmoid((t.measured - t.settings.gamma) / t.settings.tau)
        return evolved * skew(t) + (1 - evolved) * t.difficulty
    return torch.where(~t.hard() if gate == "swapped" else t.hard(), skew(t), t.difficulty)


def self_evolution_topk(t: Tokens) -> Tensor:
    """As self_evolution, with the top_percent most difficult tokens hard. Section 5.2.1."""
    return torch.where(chosen("self_evolution_topk", t).hard, skew(t), t.difficulty)


OBJECTIVES: dict[str, Callable[[Tokens], Tensor]] = {
    "sft": sft,
    "forward_kd": forward_kd,
    "reverse_kd": reverse_kd,
    "noevo": noevo,
    "skew": skew,
    "skew_teacher": skew_teacher,
    "self_evolution": self_evolution,
    "self_evolution_topk": self_evolution_topk,
    "word_kd": word_kd,
    "atkd": atkd,
    "skl": skl,
    "srkl": srkl,
    "jsd": jsd,
    "akl": akl,
    "selective_kd": selective_kd,
    "tip": tip,
}
WITHOUT_TEACHER = frozenset({"sft"})
RANKS_TOKENS = frozenset(RANKED_BY)
"""Objectives that choose among all response tokens of a batch at once."""
DEFAULTS: dict[str, dict[str, float]] = {
    "skew_teacher": {"beta": 0.9},
    "atkd": {"lam": 0.2, "target_lam": 0.5},
    "word_kd": {"alpha": 0.5},
}
"""Where an objective's own defaults differ from those of `ObjectiveSettings`."""


def objective_settings(objective: str, **settings: Any) -> ObjectiveSettings:
    """The papers' defaults for an objective, with `settings` laid over them.

    Raises:
        ValueError: an objective or a setting that isn't known, or one out of its range.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"unknown objective {objective!r}; known: {', '.join(OBJECTIVES)}")
    known = {field.name for field in fields(ObjectiveSettings)}
    if not settings.keys() <= known:
        wrong = ", ".join(sorted(settings.keys() - known))
        raise ValueError(f"unknown setting {wrong}; known: {', '.join(sorted(known))}")
    picked = ObjectiveSettings(**{**DEFAULTS.get(objective, {}), **settings})
    for name in ("lam", "target_lam", "beta", "top_percent", "alpha", "mu"):
        value, top = getattr(picked, name), 100 if name == "top_percent" else 1
        if value is not None and not 0 <= value <= top:
            raise ValueError(f"{name} is {value}; 0 to {top} is accepted")
    if picked.target_lam is not None and objective != "atkd":
        raise ValueError(f"target_lam is of atkd; the target of {objective} has lam")
    if not 0 <= picked.smoothing < 1:
        raise ValueError(f"smoothing is {picked.smoothing}; 0 to below 1 is accepted")
    if not picked.tau > 0:
        raise ValueError(f"tau is {picked.tau}; above 0 is accepted")
    if picked.queue != int(picked.queue) or picked.queue < 0:
        raise ValueError(f"queue is {picked.queue}; a whole number from 0 is accepted")
    for name, accepted in CHOICES.items():
        if getattr(picked, name) not in accepted:
            words = ", ".join(map(repr, accepted))
            raise ValueError(f"{name} is {getattr(picked, name)!r}; {words} are accepted")
    return picked


def token_loss(
    objective: str,
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    labels: Tensor,
    *,
    betas: Tensor | None = None,
    memory: TokenQueue | None = None,
    **settings: Any,
) -> Tensor:
    """Loss of each response token.

    Where an objective chooses among tokens, these are its batch, and the mean over the labels that
    aren't −100 is the batch's loss.

    Args:
        objective: a name of `OBJECTIVES`.
        student_logits: (N, V), differentiable.
        teacher_logits: (N, V); None is accepted by sft.
        labels: (N,), reference token ids; −100 marks a position without a loss.
        betas: (N,), 0 to 1, β of each token where the objective has a proxy; constants.
        memory: what selective_kd remembers from call to call, if its `queue` is above 0.
        **settings: fields of `ObjectiveSettings`; the papers' defaults otherwise.

    Returns:
        (N,) in nats, 0 at ignored positions; float32, or float64 from float64 logits.

    Raises:
        ValueError: an unknown objective or setting, shapes that don't fit, a missing teacher.
    """
    picked = objective_settings(objective, **settings)
    _check_shapes(student_logits, teacher_logits, labels)
    kept = labels != IGNORED
    given = (
        student_logits[kept],
        None if teacher_logits is None else teacher_logits[kept],
        labels[kept],
        picked,
    )
    tokens = Tokens(*given, betas=None if betas is None else betas[kept])
    if objective in RANKED_BY:
        choice = choose(
            objective, scores(objective, tokens), picked, memory, torch.is_grad_enabled()
        )
        tokens.chosen, tokens.share = choice.hard, choice.share
    loss = OBJECTIVES[objective](tokens)
    return loss.new_zeros(len(labels)).masked_scatter(kept, loss)


def difficulty(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, lam: float = 0.5
) -> Tensor:
    """(N,), d = KL(ỹ‖q) of each token in nats (Eq. 5), 0 where the label is −100.

    Args:
        student_logits, teacher_logits: (N, V).
        labels: (N,), reference token ids.
        lam: λ of Eq. 4.
    """
    return token_loss("noevo", student_logits, teacher_logits, labels, lam=lam)


def _check_shapes(student: Tensor, teacher: Tensor | None, labels: Tensor) -> None:
    if student.dim() != 2 or labels.shape != student.shape[:1]:
        raise ValueError(
            f"student logits {tuple(student.shape)} and labels {tuple(labels.shape)} don't fit; "
            "(N, V) and (N,) are accepted"
        )
    if teacher is not None and teacher.shape != student.shape:
        raise ValueError(
            f"teacher logits {tuple(teacher.shape)} differ from the student's "
            f"{tuple(student.shape)}; slice both to the vocabulary they share"
        )
