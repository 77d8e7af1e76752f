"""What is compared: evokd's paths, plain PyTorch, and what others offer for the same task.

Each entry takes (student hidden (N, Hs), student head (V, Hs), teacher hidden (N, Ht), teacher head
(V, Ht), labels (N)) to a scalar, differentiable in the first two. Peers are imported when they are
built; nothing of theirs is copied here, and their defaults stand (chunk sizes too).

Where a peer's objective is fixed it computes another loss than we do, and `computes` says which:
no label enters, and there is no gate between two branches, so that it has less to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from evokd.distil.objectives import LOSSES, Tokens
from evokd.recipe.objectives import objective_settings

LEAST = torch.finfo(torch.float32).tiny
Loss = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Variant:
    build: Callable[[str], Loss]
    """From the name of our objective to the variant's loss."""
    computes: str = "ours"
    """The name of its loss, where that is another."""
    package: str | None = None
    """The distribution that has to be installed beside evokd."""
    environment: dict[str, str] = field(default_factory=dict)


def losses_of_all(objective: str, compiled: bool) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Our objective for others, in the form that serves them best: (N, V), (N, V), (N) → (N,).

    Without ignored labels, which `evokd.token_loss` would copy both logits to set aside. Eagerly
    that is our reference code. For torch.compile it is written plainly, which makes one graph of
    it: the lazy properties of `Tokens` take a lock before Python 3.12, where it would break off.
    Objectives that aren't written out here stay with `Tokens`.
    """
    settings = objective_settings(objective)
    lam, beta, gamma = settings.lam, settings.beta, settings.gamma

    def reference(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        return LOSSES[objective](Tokens(student_logits, teacher_logits, labels, settings))

    def plain(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        log_q = student_logits.float().log_softmax(-1)
        p = teacher_logits.float().softmax(-1)
        is_label = torch.arange(p.shape[1], device=p.device) == labels[:, None]
        target = lam * p + (1 - lam) * is_label
        log_target = target.clamp_min(LEAST).log()
        easy = (target * (log_target - log_q)).sum(-1)
        if objective == "noevo":
            return easy
        proxy = beta * log_q.exp() + (1 - beta) * target
        hard = (target * (log_target - proxy.clamp_min(LEAST).log())).sum(-1)
        return hard if objective == "skew" else torch.where(easy.detach() > gamma, hard, easy)

    return plain if compiled and objective in {"noevo", "skew", "self_evolution"} else reference


def evokd_fused(objective: str) -> Loss:
    import evokd

    return partial(evokd.fused_loss, objective)


def evokd_autograd(objective: str) -> Loss:
    """As evokd runs an objective that it has no closed form for: autograd on a chunk."""
    import evokd

    settings = objective_settings(objective).model_dump()
    # A function instead of its name: nothing is known about it.
    return partial(evokd.fused_loss, LOSSES[objective], **settings)


def naive(objective: str, *, compiled: bool = False) -> Loss:
    """Full logits and autograd: how one would write it down."""
    losses = losses_of_all(objective, compiled)

    def loss(
        student_hidden: Tensor,
        student_head: Tensor,
        teacher_hidden: Tensor,
        teacher_head: Tensor,
        labels: Tensor,
    ) -> Tensor:
        with torch.no_grad():
            teacher_logits = teacher_hidden @ teacher_head.t()
        return losses(student_hidden @ student_head.t(), teacher_logits, labels).mean()

    return torch.compile(loss) if compiled else loss


def liger_base(objective: str, *, compiled: bool) -> Loss:
    """Liger's chunked base class, made for losses of others, with ours plugged in."""
    from liger_kernel.chunked_loss.fused_linear_distillation import LigerFusedLinearDistillationBase

    losses = losses_of_all(objective, compiled)

    class Chunked(LigerFusedLinearDistillationBase):
        @staticmethod
        def distillation_loss_fn(
            student_logits: Tensor, teacher_logits: Tensor, target: Tensor, **_unused: Any
        ) -> Tensor:
            return losses(student_logits, teacher_logits, target).sum()

        @classmethod
        def forward(cls, ctx: Any, *tensors: Tensor) -> Tensor:
            student_hidden, student_head, teacher_hidden, teacher_head, labels = tensors
            return super().forward(
                cls=cls,
                ctx=ctx,
                student_input=student_hidden,
                student_weight=student_head,
                teacher_input=teacher_hidden,
                teacher_weight=teacher_head,
                target=labels,
                weight_hard_loss=0.0,
                weight_soft_loss=1.0,
                compiled=compiled,
            )

        @staticmethod
        def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
            gradients = LigerFusedLinearDistillationBase.backward(ctx, *upstream)
            return (*gradients[:2], None, None, None)

    return Chunked.apply


def liger_jsd(_objective: str) -> Loss:
    """LigerFusedLinearJSDLoss, without its cross-entropy term, compiled as it is by default."""
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    return LigerFusedLinearJSDLoss(weight_hard_loss=0.0, weight_soft_loss=1.0)


def trl_chunked(_objective: str, *, beta: float) -> Loss:
    """The chunked divergence of TRL's DistillationTrainer (since 1.16; plain torch without GPU)."""
    from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

    def loss(
        student_hidden: Tensor,
        student_head: Tensor,
        teacher_hidden: Tensor,
        teacher_head: Tensor,
        _labels: Tensor,
    ) -> Tensor:
        divergence, _entropy = ChunkedDivergenceFunction.apply(
            student_hidden, student_head, None, teacher_hidden, teacher_head, None, beta
        )
        return divergence.mean()

    return loss


def trl_gkd(_objective: str) -> Loss:
    """GKDTrainer.generalized_jsd_loss on full logits."""
    from trl.experimental.gkd import GKDTrainer

    def loss(
        student_hidden: Tensor,
        student_head: Tensor,
        teacher_hidden: Tensor,
        teacher_head: Tensor,
        labels: Tensor,
    ) -> Tensor:
        student_logits = student_hidden @ student_head.t()
        with torch.no_grad():
            teacher_logits = teacher_hidden @ teacher_head.t()
        return GKDTrainer.generalized_jsd_loss(
            student_logits[None], teacher_logits[None], labels[None]
        )

    return loss


VARIANTS: dict[str, Variant] = {
    "evokd": Variant(evokd_fused),
    "evokd, no compiler": Variant(evokd_fused, environment={"EVOKD_ROWS": "torch"}),
    "evokd, autograd on a chunk": Variant(evokd_autograd),
    "naive": Variant(naive),
    "naive, compiled": Variant(partial(naive, compiled=True)),
    "Liger base, our loss": Variant(partial(liger_base, compiled=False), package="liger_kernel"),
    "Liger base, our loss, compiled": Variant(
        partial(liger_base, compiled=True), package="liger_kernel"
    ),
    "Liger JSD, compiled": Variant(liger_jsd, "JSD", "liger_kernel"),
    "TRL chunked, reverse KL": Variant(partial(trl_chunked, beta=1.0), "reverse KL", "trl"),
    "TRL chunked, JSD": Variant(partial(trl_chunked, beta=0.5), "JSD", "trl"),
    "TRL GKD": Variant(trl_gkd, "JSD", "trl"),
}
