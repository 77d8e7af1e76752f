"""What a distiller wants to watch: sums over response tokens, and the means made of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from evokd.distil.row_loss.closed_forms import Rows
from evokd.distil.tokens import Tokens

SUMS = (
    *("tokens", "loss", "nll", "compared", "difficulty", "teacher_nll", "hard"),
    *("loss_hard", "loss_all", "gradient_hard", "gradient_all"),
)
"""All that statistics may hold; one device may have seen less than another."""


@dataclass
class Statistics:
    """Sums over response tokens, kept on their device until somebody asks.

    `sums` holds, each as a scalar tensor: tokens, loss, nll; of the tokens on which there was a
    teacher (compared) also difficulty, nats the teacher spends on the reference (teacher_nll), hard
    tokens, and loss and gradient (L2 norm over a token's logits) of hard tokens and of all.
    """

    sums: dict[str, Tensor]

    @classmethod
    def empty(cls) -> Statistics:
        return cls({})

    def add(self, **amounts: Tensor) -> None:
        for name, amount in amounts.items():
            amount = amount.detach().double() if amount.device.type == "cpu" else amount.detach()
            self.sums[name] = self.sums[name] + amount if name in self.sums else amount

    @torch.no_grad()
    def count(self, found: Rows) -> None:
        """Add what a pass over some rows found."""
        count = torch.tensor(float(len(found.loss)), device=found.loss.device)
        self.add(tokens=count, loss=found.loss.sum(), nll=found.nll.sum())
        if found.difficulty is None or found.teacher_nll is None or found.hard is None:
            return
        self.add(
            compared=count,
            difficulty=found.difficulty.sum(),
            teacher_nll=found.teacher_nll.sum(),
            hard=found.hard.sum().float(),
            loss_hard=found.loss[found.hard].sum(),
            loss_all=found.loss.sum(),
        )
        if found.gradient_norm is not None:
            norm = found.gradient_norm
            self.add(gradient_hard=norm[found.hard].sum(), gradient_all=norm.sum())

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
def rows_of(
    tokens: Tokens, losses: Tensor, gradient: Tensor | None, all_of_it: bool = True
) -> Rows:
    """What a row pass would have found of tokens that autograd passed over.

    Args:
        losses: (n,)
        gradient: (n, V), of the weighted losses by the logits, if there is one.
        all_of_it: False spares what nobody looks at; the loss stands in its place.
    """
    if not all_of_it:
        return Rows(losses, losses)
    norm = None if gradient is None else gradient.float().norm(dim=-1)
    nll = tokens.nll.detach()
    if not tokens.has_teacher:
        return Rows(losses, nll, gradient_norm=norm)
    return Rows(
        losses,
        nll,
        tokens.difficulty.detach(),
        tokens.teacher_nll,
        tokens.hard(),
        norm,
        None if tokens.settings.measure == "kl" else tokens.measured,
    )
