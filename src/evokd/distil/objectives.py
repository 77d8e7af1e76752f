"""Self-Evolution Knowledge Distillation and its baselines, as equations.

Song, Ding, Zan and Huang: Self-Evolution Knowledge Distillation for LLM-based Machine Translation,
COLING 2025 (arXiv 2412.15303). Equation numbers below are that paper's. Its letters:

    y   one-hot distribution of the reference token        q   student
    p   teacher                                            ỹ   target,   Eq. 4
    d   difficulty of a token,  Eq. 5                      q̂   proxy,    Eq. 6

All quantities are natural-log (nats), in float32 or wider, summed over the whole vocabulary, and
stand for one response token each. The teacher is a constant; d chooses between two losses and is a
constant there as well; inside q̂ the gradient flows through q and only there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor

IGNORED = -100
"""Label of a position that has no loss (prompt, padding)."""
_LEAST_LOG = -1e9
"""Stands for ln 0 where it is multiplied by 0."""


@dataclass(frozen=True)
class ObjectiveSettings:
    """The paper's symbols and its defaults."""

    lam: float = 0.5
    """λ, weight of the teacher in the target (Eq. 4) and of the KL term (Eq. 3)."""
    beta: float = 0.5
    """β, weight of the student in the proxy (Eq. 6); the paper takes 0.9 in Eq. 10."""
    gamma: float = 0.4
    """Γ, difficulty in nats above which a token is hard."""
    top_percent: float = 50.0
    """Share of hard tokens in the variant that ranks them (section 5.2.1)."""


class Tokens:
    """N response tokens with what student and teacher say of them.

    Args:
        student_logits: (N, V), differentiable.
        teacher_logits: (N, V) or None where an objective needs no teacher.
        labels: (N,), reference token ids, each in [0, V).
        settings: λ is used here, the rest by the objectives.
        hard: (N,) bool, the hard set where it was chosen elsewhere (over a whole batch of which
            these tokens are a part); None chooses it here.
    """

    def __init__(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        labels: Tensor,
        settings: ObjectiveSettings,
        hard: Tensor | None = None,
    ):
        self.settings = settings
        self.labels = labels
        self.log_q = _log_softmax(student_logits)
        self._p = None if teacher_logits is None else Known(_log_softmax(teacher_logits.detach()))
        self._hard = hard

    @property
    def has_teacher(self) -> bool:
        return self._p is not None

    @property
    def p(self) -> Known:
        """The teacher, (N, V)."""
        if self._p is None:
            raise ValueError("this objective needs the teacher's logits, and there are none")
        return self._p

    @cached_property
    def nll(self) -> Tensor:
        """(N,), −ln q(y): the terms of Eq. 2."""
        return -_at(self.log_q, self.labels)

    @cached_property
    def teacher_nll(self) -> Tensor:
        """(N,), −ln p(y)."""
        return -_at(self.p.log, self.labels)

    @cached_property
    def target(self) -> Known:
        """ỹ = (1 − λ) y + λ p, (N, V). Eq. 4."""
        lam = self.settings.lam
        log_y = self.p.log + _log(lam)
        on_label = torch.logaddexp(
            _at(log_y, self.labels), torch.full_like(log_y[:, 0], _log(1 - lam))
        )
        return Known(log_y.scatter_(1, self.labels[:, None], on_label[:, None]))

    @cached_property
    def difficulty(self) -> Tensor:
        """(N,), d = KL(ỹ‖q), differentiable. Eq. 5, and the loss of an easy token, Eq. 8."""
        return self.target.kl_to(self.log_q)

    def hard(self) -> Tensor:
        """(N,) bool, d > Γ, strictly; or the set given from outside."""
        return self.difficulty.detach() > self.settings.gamma if self._hard is None else self._hard


class Known:
    """A distribution without gradient, (N, V), from its logarithm."""

    def __init__(self, log: Tensor):
        self.log = log

    @cached_property
    def probabilities(self) -> Tensor:
        """(N, V)"""
        return self.log.exp()

    @cached_property
    def entropy(self) -> Tensor:
        """(N,), −Σ_v a ln a, with 0 ln 0 = 0."""
        return -torch.linalg.vecdot(self.probabilities, self.log.clamp(min=_LEAST_LOG))

    def kl_to(self, log_b: Tensor) -> Tensor:
        """(N,), KL(a‖b) = Σ_v a (ln a − ln b) over the vocabulary, entropy of a included."""
        return -torch.linalg.vecdot(self.probabilities, log_b) - self.entropy


def kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    """(N,), KL(a‖b) where a has a gradient as well."""
    return torch.linalg.vecdot(log_a.exp(), log_a - log_b)


def mixture(log_a: Tensor, log_b: Tensor, weight: float) -> Tensor:
    """(N, V), ln(weight · a + (1 − weight) · b), without leaving log space."""
    if weight == 1.0:
        return log_a
    if weight == 0.0:  # still a function of a, with gradient 0
        return torch.where(torch.ones_like(log_b, dtype=torch.bool), log_b, log_a)
    return torch.logaddexp(log_a + _log(weight), log_b + _log(1 - weight))


# The objectives: Tokens → loss per token (N,). Each is one line of the paper.


def sft(t: Tokens) -> Tensor:
    """−ln q(y). Eq. 2."""
    return t.nll


def forward_kd(t: Tokens) -> Tensor:
    """(1 − λ) (−ln q(y)) + λ KL(p‖q). Eq. 3."""
    lam = t.settings.lam
    return (1 - lam) * t.nll + lam * t.p.kl_to(t.log_q)


def reverse_kd(t: Tokens) -> Tensor:
    """(1 − λ) (−ln q(y)) + λ KL(q‖p). Section 4.3, Baselines."""
    lam = t.settings.lam
    return (1 - lam) * t.nll + lam * kl(t.log_q, t.p.log)


def noevo(t: Tokens) -> Tensor:
    """KL(ỹ‖q), every token easy. Section 4.3; the same gradient as forward_kd."""
    return t.difficulty


def skew(t: Tokens) -> Tensor:
    """KL(ỹ‖q̂), every token hard, q̂ = β q + (1 − β) ỹ. Eq. 6 and 7; section 4.3."""
    return t.target.kl_to(mixture(t.log_q, t.target.log, t.settings.beta))


def skew_teacher(t: Tokens) -> Tensor:
    """(1 − λ) (−ln q(y)) + λ KL(p‖β q + (1 − β) p). Eq. 10."""
    lam, beta = t.settings.lam, t.settings.beta
    return (1 - lam) * t.nll + lam * t.p.kl_to(mixture(t.log_q, t.p.log, beta))


def self_evolution(t: Tokens) -> Tensor:
    """KL(ỹ‖q̂) where d > Γ, KL(ỹ‖q) elsewhere. Eq. 9."""
    return torch.where(t.hard(), skew(t), t.difficulty)


def self_evolution_topk(t: Tokens) -> Tensor:
    """As self_evolution, with the top_percent most difficult tokens hard. Section 5.2.1."""
    hard = most_difficult(t.difficulty, t.settings.top_percent) if t._hard is None else t._hard
    return torch.where(hard, skew(t), t.difficulty)


OBJECTIVES: dict[str, Callable[[Tokens], Tensor]] = {
    "sft": sft,
    "forward_kd": forward_kd,
    "reverse_kd": reverse_kd,
    "noevo": noevo,
    "skew": skew,
    "skew_teacher": skew_teacher,
    "self_evolution": self_evolution,
    "self_evolution_topk": self_evolution_topk,
}
WITHOUT_TEACHER = frozenset({"sft"})
RANKS_TOKENS = frozenset({"self_evolution_topk"})
"""Objectives whose hard set is chosen over all response tokens of a batch at once."""


def most_difficult(difficulty: Tensor, percent: float) -> Tensor:
    """(N,) bool, the ⌈percent % · N⌉ largest of (N,); of equal ones the first."""
    count = math.ceil(percent / 100 * len(difficulty))
    order = torch.sort(difficulty.detach(), descending=True, stable=True).indices
    hard = torch.zeros_like(difficulty, dtype=torch.bool)
    hard[order[:count]] = True
    return hard


def objective_settings(objective: str, **settings: float) -> ObjectiveSettings:
    """The paper's defaults for an objective, with `settings` laid over them.

    Raises:
        ValueError: an objective or a setting that isn't known, or one out of its range.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"unknown objective {objective!r}; known: {', '.join(OBJECTIVES)}")
    known = {field.name for field in fields(ObjectiveSettings)}
    if not settings.keys() <= known:
        wrong = ", ".join(sorted(settings.keys() - known))
        raise ValueError(f"unknown setting {wrong}; known: {', '.join(sorted(known))}")
    if objective == "skew_teacher":
        settings = {"beta": 0.9, **settings}
    chosen = ObjectiveSettings(**settings)
    for name, top in [("lam", 1), ("beta", 1), ("top_percent", 100)]:
        if not 0 <= getattr(chosen, name) <= top:
            raise ValueError(f"{name} is {getattr(chosen, name)}; 0 to {top} is accepted")
    return chosen


def token_loss(
    objective: str,
    student_logits: Tensor,
    teacher_logits: Tensor | None,
    labels: Tensor,
    **settings: float,
) -> Tensor:
    """Loss of each response token.

    Args:
        objective: a name of `OBJECTIVES`.
        student_logits: (N, V), differentiable.
        teacher_logits: (N, V); None is accepted by sft.
        labels: (N,), reference token ids; −100 marks a position without a loss.
        **settings: `lam`, `beta`, `gamma`, `top_percent`; the paper's defaults otherwise.

    Returns:
        (N,) in nats, 0 at ignored positions; float32, or float64 from float64 logits.
    """
    chosen = objective_settings(objective, **settings)
    _check_shapes(student_logits, teacher_logits, labels)
    kept = labels != IGNORED
    tokens = Tokens(
        student_logits[kept],
        None if teacher_logits is None else teacher_logits[kept],
        labels[kept],
        chosen,
    )
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


def _log_softmax(logits: Tensor) -> Tensor:
    wide = logits.dtype if logits.dtype == torch.float64 else torch.float32
    return torch.log_softmax(logits.to(wide), dim=-1)


def _at(table: Tensor, labels: Tensor) -> Tensor:
    """(N,), each row's entry at its label."""
    return table.gather(1, labels[:, None])[:, 0]


def _log(weight: float) -> float:
    return math.log(weight) if weight > 0 else -math.inf


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
