"""What a distiller wants to watch: sums over response tokens, and the means made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from evokd.distil.tokens import Tokens

SUMS = (
    *("tokens", "loss", "nll", "compared", "difficulty", "teacher_nll", "hard"),
    *("loss_hard", "loss_all", "gradient_hard", "gradient_all"),
)
"""All that statistics may hold; one device may have seen less than another."""


@dataclass(frozen=True)
class TokenStats:
    """What a pass over some tokens saw, each (n,), float32 or wider; None where there was no
    teacher, and `gradient_norm` also where no gradient was asked for."""

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

    @classmethod
    def join(cls, parts: Sequence[TokenStats]) -> TokenStats:
        """Those of several passes, in order; at least one."""
        columns: dict[str, Any] = {}
        for name in (column.name for column in fields(cls)):
            each = [getattr(part, name) for part in parts]
            columns[name] = None if each[0] is None else torch.cat(each)
        return cls(**columns)


@dataclass
class Statistics:
    """Sums over response tokens, kept on their device until somebody asks.

    `sums` holds, each as a scalar tensor: tokens, loss, nll; of the tokens on which there was a
    teacher (compared) also difficulty, nats the teacher spends on the reference (teacher_nll), hard
    tokens, and loss and gradient (L2 norm over a token's logits) of hard tokens and of all.
    """

    sums: dict[str, Tensor] = field(default_factory=dict)

    def add(self, **amounts: Tensor) -> None:
        for name, amount in amounts.items():
            amount = amount.detach().double() if amount.device.type == "cpu" else amount.detach()
            self.sums[name] = self.sums[name] + amount if name in self.sums else amount

    @torch.no_grad()
    def count(self, stats: TokenStats) -> None:
        """Add what a pass over some tokens saw."""
        count = torch.tensor(float(len(stats.loss)), device=stats.loss.device)
        self.add(tokens=count, loss=stats.loss.sum(), nll=stats.nll.sum())
        if stats.difficulty is None or stats.teacher_nll is None or stats.hard is None:
            return
        self.add(
            compared=count,
            difficulty=stats.difficulty.sum(),
            teacher_nll=stats.teacher_nll.sum(),
            hard=stats.hard.sum().float(),
            loss_hard=stats.loss[stats.hard].sum(),
            loss_all=stats.loss.sum(),
        )
        if stats.gradient_norm is not None:
            norm = stats.gradient_norm
            self.add(gradient_hard=norm[stats.hard].sum(), gradient_all=norm.sum())

    def means(self) -> dict[str, float]:
        """Per-token means and shares, under the names of the metrics file."""
        sums = {name: float(value) for name, value in self.sums.items()}
        tokens = sums.get("tokens", 0.0)
        if not tokens:
            return {}
        means = {"student_nll": sums["nll"] / tokens}
        compared = sums.get("compared", 0.0)
        if not compared:
            return means
        means |= {
            "noevo_loss": sums["difficulty"] / compared,
            "mean_difficulty": sums["difficulty"] / compared,
            "teacher_nll": sums["teacher_nll"] / compared,
            "hard_share": sums["hard"] / compared,
        }
        for what in ("loss", "gradient"):
            if sums.get(f"{what}_all"):
                share = sums[f"{what}_hard"] / sums[f"{what}_all"]
                short = "grad" if what == "gradient" else what
                means |= {f"{short}_share_hard": share, f"{short}_share_easy": 1.0 - share}
        return means


@torch.no_grad()
def stats_of(
    tokens: Tokens, losses: Tensor, gradient: Tensor | None, all_of_it: bool = True
) -> TokenStats:
    """What autograd's way over some tokens saw.

    Args:
        losses: (n,)
        gradient: (n, V), of the weighted losses by the logits, if there is one.
        all_of_it: False spares what nobody looks at; the loss stands in its place.
    """
    if not all_of_it:
        return TokenStats(losses, losses)
    norm = None if gradient is None else gradient.float().norm(dim=-1)
    nll = tokens.nll.detach()
    if not tokens.has_teacher:
        return TokenStats(losses, nll, gradient_norm=norm)
    return TokenStats(
        losses,
        nll,
        tokens.difficulty.detach(),
        tokens.teacher_nll,
        tokens.hard(),
        norm,
        None if tokens.settings.difficulty == "kl" else tokens.measured,
    )
