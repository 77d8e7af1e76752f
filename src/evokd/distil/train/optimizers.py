"""Optimizers by the names that a recipe gives them: AdamW, and what of it takes less memory.

adamw              torch's: two moments in float32, 8 bytes a parameter
adamw_8bit         bitsandbytes': moments in 8 bits by blocks (Dettmers et al. 2022), 2 bytes
adamw_kahan        for weights in bfloat16: what rounding takes is kept, 6 bytes
adamw_8bit_kahan   both, 4 bytes
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from evokd.errors import InputError
from evokd.models.quantized import bitsandbytes
from evokd.recipe.training import TrainingSettings, optimizer_problem

_AT_ONCE = 1 << 22
"""Weights whose float32 values stand in memory at once."""


def optimizer_of(settings: TrainingSettings) -> tuple[type, dict[str, Any]] | None:
    """What Trainer takes as `optimizer_cls_and_kwargs`; None leaves it to its own AdamW.

    Raises:
        InputError: it is bitsandbytes', which isn't there.
    """
    if settings.optimizer == "adamw":
        return None
    kinds: dict[str, Callable[[], type]] = {
        "adamw_8bit": lambda: _bitsandbytes().optim.AdamW8bit,
        "adamw_kahan": lambda: KahanAdamW,
        "adamw_8bit_kahan": _kahan_8bit,
    }
    betas = (0.9, settings.adam_beta2)
    how = {"lr": settings.learning_rate, "betas": betas, "eps": 1e-8}
    return kinds[settings.optimizer](), how


def check_trained(student: nn.Module, settings: TrainingSettings) -> None:
    """See that the optimizer suits the number format of the weights that are trained.

    Raises:
        InputError: it doesn't.
    """
    dtypes = {weight.dtype for weight in student.parameters() if weight.requires_grad}
    for dtype in dtypes:
        problem = optimizer_problem(settings.optimizer, str(dtype).removeprefix("torch."))
        if problem:
            raise InputError(f"training.{problem}")


class KahanAdamW(torch.optim.Optimizer):
    """AdamW for weights in bfloat16, which alone would lose nearly every update.

    At a rate of 2e-5 an update is smaller than half a step of bfloat16 (8 bits), and rounding to
    nearest takes all of it. Here what rounding took is kept beside the weight and added to it
    before the next update (Kahan 1965; Zamirai et al. 2020, arXiv 2010.06192). Both moments are in
    bfloat16, too. The second is rounded at random, by a draw that depends on the step alone: at
    β₂ = 0.999 it moves by a thousandth, and rounded to nearest it would rise and never fall.

    State: 6 bytes a parameter.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        known = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, known)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update of every weight that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, group)
        return loss

    def _update(self, weight: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = 0
            for name in ("exp_avg", "exp_avg_sq", "lost"):
                state[name] = torch.zeros_like(weight)
        state["step"] += 1
        kept = [state[name] for name in ("exp_avg", "exp_avg_sq", "lost")]
        gradient = _local(weight.grad).contiguous()  # of what is changed no copy would do
        flat = [one.view(-1) for one in (_local(weight), gradient, *map(_local, kept))]
        draw = torch.Generator(weight.device).manual_seed(state["step"])
        for pieces in zip(*(one.split(_AT_ONCE) for one in flat), strict=True):
            _update_piece(pieces, state["step"], group, draw)


def _update_piece(
    pieces: tuple[Tensor, ...], step: int, group: dict[str, Any], draw: torch.Generator
) -> None:
    """AdamW in float32 on some weights, their gradients and state, each (n,); what comes out is
    rounded into its place."""
    weight, gradient, first, second, lost = pieces
    beta1, beta2 = group["betas"]
    slope = gradient.float()
    mean, square, exact = (one.to(torch.float32, copy=True) for one in (first, second, weight))
    mean.lerp_(slope, 1 - beta1)
    square.mul_(beta2).addcmul_(slope, slope, value=1 - beta2)
    first.copy_(mean)
    second.copy_(_rounded_at_random(square, draw))
    exact.add_(lost).mul_(1 - group["lr"] * group["weight_decay"])
    scale = square.div_(1 - beta2**step).sqrt_().add_(group["eps"])
    exact.addcdiv_(mean, scale, value=-group["lr"] / (1 - beta1**step))
    _store(exact, weight, lost)


def _store(exact: Tensor, weight: Tensor, lost: Tensor) -> None:
    """float32 → a weight in fewer bits, and what that lost."""
    weight.copy_(exact)
    lost.copy_(exact.sub_(weight))


def _rounded_at_random(values: Tensor, draw: torch.Generator) -> Tensor:
    """float32 ≥ 0 → bfloat16, up or down with the probability that makes the mean right."""
    below = torch.randint(
        0, 1 << 16, values.shape, dtype=torch.int32, device=values.device, generator=draw
    )
    # A bfloat16 is the upper half of a float32's bits.
    return (below.add_(values.view(torch.int32)) & -(1 << 16)).view(torch.float32)


def _local(tensor: Any) -> Tensor:
    """The part of a sharded tensor that is here, or the tensor."""
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local


def _kahan_8bit() -> type:
    """bitsandbytes' AdamW with moments in 8 bits, for weights in bfloat16 as in `KahanAdamW`."""
    optim = _bitsandbytes().optim

    class KahanAdamW8bit(optim.AdamW8bit):  # type: ignore[name-defined]
        def init_state(self, group: Any, p: Tensor, gindex: int, pindex: int) -> None:
            super().init_state(group, p, gindex, pindex)
            self.state[p]["lost"] = torch.zeros_like(p)

        def update_step(self, group: Any, p: Tensor, gindex: int, pindex: int) -> None:
            weight, gradient, lost = p.data, p.grad, self.state[p]["lost"]
            assert gradient is not None
            # For this update the weight is a float32 one; its moments know no difference.
            p.grad = None
            p.data = weight.to(torch.float32, copy=True).add_(lost)
            p.grad = gradient.float()
            super().update_step(group, p, gindex, pindex)
            exact = p.data
            p.grad = None
            p.data = weight
            p.grad = gradient
            _store(exact, weight, lost)

    return KahanAdamW8bit


def _bitsandbytes() -> Any:
    return bitsandbytes("training.optimizer: adamw_8bit")
