"""What an objective is a function of: N response tokens, seen by student and teacher.

The letters are those of Song et al. 2024 (arXiv 2412.15303), whose equations are numbered:

    y   one-hot distribution of the reference token        q   student
    p   teacher                                            ỹ   target,   Eq. 4
    d   difficulty of a token,  Eq. 5                      q̂   proxy,    Eq. 6

All quantities are natural-log (nats), in float32 or wider, summed over the whole vocabulary. The
teacher is a constant; d chooses between two losses and is a constant there as well; inside q̂ the
gradient flows through q and only there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from evokd.recipe.objectives import IGNORED, ObjectiveSettings

LEAST_LOG = -1e9
"""Stands for ln 0 where it is multiplied by 0."""


@dataclass(frozen=True)
class Selection:
    """The hard tokens of a batch, or of a part of it."""

    hard: Tensor
    """(N,) bool"""
    share: float
    """Of hard tokens in the whole batch, 0 to 1."""


class Tokens:
    """N response tokens with what student and teacher say of them.

    Args:
        student_logits: (N, V), differentiable.
        teacher_logits: (N, V) or None where an objective needs no teacher.
        labels: (N,), reference token ids, each in [0, V).
        settings: λ, β and what is compared with Γ are used here, the rest by the objectives.
        selection: the hard set where it was selected before, over a whole batch of which these
            tokens are a part; None: it is that of these.
        betas: (N,), β of each token; None: one for all.
    """

    def __init__(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        labels: Tensor,
        settings: ObjectiveSettings,
        selection: Selection | None = None,
        betas: Tensor | None = None,
    ):
        self.settings, self.labels, self.selection = settings, labels, selection
        self.log_q = _log_softmax(student_logits)
        self._p = (
            None if teacher_logits is None else Distribution(_log_softmax(teacher_logits.detach()))
        )
        self._betas = betas

    @property
    def has_teacher(self) -> bool:
        return self._p is not None

    @property
    def p(self) -> Distribution:
        """The teacher, (N, V)."""
        if self._p is None:
            raise ValueError("this objective needs the teacher's logits, and there are none")
        return self._p

    @cached_property
    def nll(self) -> Tensor:
        """(N,), −ln q(y): the terms of Eq. 2."""
        return -gather_labels(self.log_q, self.labels)

    @cached_property
    def teacher_nll(self) -> Tensor:
        """(N,), −ln p(y)."""
        return -gather_labels(self.p.log, self.labels)

    @cached_property
    def uncertainty(self) -> Tensor:
        """(N,), the teacher's ln((1 − p(y)) / p(y))."""
        return log_odds_against(self.p.log, self.labels)

    @cached_property
    def entropy(self) -> Tensor:
        """(N,), H(q), differentiable."""
        return -torch.linalg.vecdot(self.log_q.exp(), self.log_q.clamp(min=LEAST_LOG))

    @cached_property
    def forward_kl(self) -> Tensor:
        """(N,), KL(p‖q), differentiable."""
        return self.p.kl_to(self.log_q)

    @cached_property
    def reverse_kl(self) -> Tensor:
        """(N,), KL(q‖p), differentiable."""
        return kl(self.log_q, self.p.log)

    @cached_property
    def target(self) -> Distribution:
        """ỹ = (1 − λ) y + λ p, (N, V). Eq. 4."""
        own = self.settings.target_lam
        lam = self.settings.lam if own is None else own
        log_y = self.p.log + _log(lam)
        on_label = torch.logaddexp(
            gather_labels(log_y, self.labels), torch.full_like(log_y[:, 0], _log(1 - lam))
        )
        return Distribution(log_y.scatter_(1, self.labels[:, None], on_label[:, None]))

    @cached_property
    def difficulty(self) -> Tensor:
        """(N,), d = KL(ỹ‖q), differentiable. Eq. 5, and the loss of an easy token, Eq. 8."""
        return self.target.kl_to(self.log_q)

    @cached_property
    def measured(self) -> Tensor:
        """(N,), what is compared with Γ: d, or what the setting `difficulty` puts in its place; no
        gradient."""
        # Not d and the NLL under no_grad: they are kept, and their gradient is wanted later.
        if self.settings.difficulty == "kl":
            return self.difficulty.detach()
        if self.settings.difficulty == "nll":
            return self.nll.detach()
        with torch.no_grad():
            if self.settings.difficulty == "reverse_kl":
                return kl(self.log_q, self.target.log)
            middle = mixture(self.log_q, self.target.log, 0.5)
            return (self.target.kl_to(middle) + kl(self.log_q, middle)) / 2

    @cached_property
    def beta(self) -> float | Tensor:
        """β of Eq. 6: one for all tokens, or (N, 1) where each has its own."""
        if self._betas is not None:
            return self._betas.detach().to(self.log_q.dtype)[:, None]
        if self.settings.beta == "difficulty":  # Γ / (Γ + d), also at Γ = 0 and ∞
            least = torch.finfo(self.log_q.dtype).tiny
            return 1 / (1 + self.measured[:, None] / max(self.settings.gamma, least))
        return self.settings.beta

    @property
    def doubted(self) -> Tensor:
        """(N,) bool: the teacher disbelieves the reference, −ln p(y) > max(δ, H(p))."""
        return disbelieves(self.teacher_nll, self.p.entropy, self.settings.doubt)

    def hard(self) -> Tensor:
        """(N,) bool, d > Γ, strictly; or the set that was selected before."""
        selected = self.selection
        return self.measured > self.settings.gamma if selected is None else selected.hard


class Distribution:
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
        return -torch.linalg.vecdot(self.probabilities, self.log.clamp(min=LEAST_LOG))

    def cross_entropy_to(self, log_b: Tensor) -> Tensor:
        """(N,), CE(a, b) = −Σ_v a ln b."""
        return -torch.linalg.vecdot(self.probabilities, log_b)

    def kl_to(self, log_b: Tensor) -> Tensor:
        """(N,), KL(a‖b) = Σ_v a (ln a − ln b) over the vocabulary, entropy of a included."""
        return self.cross_entropy_to(log_b) - self.entropy


def disbelieves(nll: Tensor, entropy: Tensor, doubt: float) -> Tensor:
    """(N,) bool: −ln p(y) > max(δ, H(p)). A reference surprises a teacher by more than δ, and by
    more than it expects."""
    return nll > entropy.clamp(min=doubt)


def kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    """(N,), KL(a‖b) where a has a gradient as well."""
    return torch.linalg.vecdot(log_a.exp(), log_a - log_b)


def mixture(log_a: Tensor, log_b: Tensor, weight: float | Tensor) -> Tensor:
    """(N, V), ln(weight · a + (1 − weight) · b), without leaving log space.

    weight: 0 to 1, one for all rows or (N, 1).
    """
    if isinstance(weight, Tensor):
        # ln 0 twice in one place would leave no gradient.
        most = weight.clamp(min=torch.finfo(weight.dtype).tiny)
        return torch.logaddexp(log_a + most.log(), log_b + torch.log1p(-weight))
    if weight == 1.0:
        return log_a
    if weight == 0.0:  # still a function of a, with gradient 0
        return torch.where(torch.ones_like(log_b, dtype=torch.bool), log_b, log_a)
    return torch.logaddexp(log_a + _log(weight), log_b + _log(1 - weight))


def log_odds_against(log: Tensor, labels: Tensor) -> Tensor:
    """(N,), ln((1 − a(y)) / a(y)) of logits or log-probabilities (N, V).

    From the other entries themselves: where a(y) is near 1, 1 − a(y) has lost its digits.
    """
    return log.scatter(1, labels[:, None], -torch.inf).logsumexp(1) - gather_labels(log, labels)


def check_labels(labels: Tensor, size: int) -> Tensor:
    """(N,) bool: the labels that have a loss.

    Raises:
        ValueError: labels that are no ids of a vocabulary of this size.
    """
    accepted = f"ids from 0 to {size - 1} are accepted, and {IGNORED} where there is no loss"
    if labels.dtype != torch.long:
        raise ValueError(f"labels are {labels.dtype}; {accepted}, as torch.int64: labels.long()")
    kept = labels != IGNORED
    wrong = kept & ((labels < 0) | (labels >= size))
    if wrong.any():
        raise ValueError(f"found the label {labels[wrong][0]}; {accepted}")
    return kept


def gather_labels(table: Tensor, labels: Tensor) -> Tensor:
    """(N,), each row's entry at its label."""
    return table.gather(1, labels[:, None])[:, 0]


def _log_softmax(logits: Tensor) -> Tensor:
    wide = torch.promote_types(logits.dtype, torch.float32)
    return torch.log_softmax(logits, dim=-1, dtype=wide)


def _log(weight: float) -> float:
    return math.log(weight) if weight > 0 else -math.inf
