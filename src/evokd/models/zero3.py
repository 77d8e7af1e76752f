"""A model spread over processes by DeepSpeed's ZeRO-3, which accelerate was told to use.

Its weights are empty outside the calls of the modules they belong to; DeepSpeed's hooks gather them
there. The student's hooks come with the engine that trains it, the teacher's with one that doesn't
learn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from evokd.errors import require

_CONFIG = {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 3}}
"""Of a model that isn't trained."""


def is_partitioned(model: nn.Module) -> bool:
    """Whether each process holds a part of its weights."""
    return any(hasattr(weight, "ds_id") for weight in model.parameters())


def is_callable(model: nn.Module) -> bool:
    """Whether there are the hooks that a partitioned model needs."""
    return not is_partitioned(model) or hasattr(model._parameters, "_in_forward")


def partitioned(like: nn.Parameter, tensor: Tensor) -> nn.Parameter:
    """A weight of which each process keeps a part, from the first process's tensor."""
    weight = nn.Parameter(tensor, like.requires_grad)
    _deepspeed().zero.Init(module=nn.ParameterList([weight]), mem_efficient_linear=False)
    return weight


def make_callable(model: nn.Module) -> None:
    """Give a partitioned model that isn't trained the hooks that gather its weights."""
    engine, *_ = _deepspeed().initialize(model=model, config=_CONFIG)
    vars(model)["_zero3_engine"] = engine  # not a module below it


def whole(weights: list[Any]) -> list[Any]:
    """Copies of some weights (None stays) as they are in all processes together; called by all."""
    with _deepspeed().zero.GatheredParameters([one for one in weights if one is not None]):
        return [None if one is None else one.detach().clone() for one in weights]


def opened(weights: Iterable[Any]) -> Any:
    """A context in which weights are whole in all processes; what the first one changes stays."""
    return _deepspeed().zero.GatheredParameters(list(weights), modifier_rank=0)


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Its weights and buffers, on the first process's CPU; empty in all others."""
    is_first = dist.get_rank() == 0
    copies: dict[int, Any] = {}
    found: dict[str, Any] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        if id(weight) not in copies:
            (copy,) = whole([weight])
            copies[id(weight)] = copy.cpu() if is_first else None
        if is_first:
            found[name] = copies[id(weight)]
    if is_first:
        buffers = model.state_dict().keys() - found.keys()
        found |= {name: model.get_buffer(name).cpu() for name in buffers}
    return found


@torch.no_grad()
def take_weights(model: nn.Module, checkpoint: Path) -> None:
    """Those of a checkpoint, in place; any number of processes may have written it."""
    _deepspeed()
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    first = dist.get_rank() == 0
    saved = get_fp32_state_dict_from_zero_checkpoint(str(checkpoint)) if first else {}
    for name, weight in model.named_parameters():
        with opened([weight]):
            if first:
                weight.copy_(saved[name])


def processes_of(checkpoint: Path) -> int:
    """How many wrote it by DeepSpeed; 0: it was written otherwise."""
    return len(list(checkpoint.glob("global_step*/zero_pp_rank_*_model_states.pt")))


def is_away(weight: Any) -> bool:
    """Whether it is partitioned, and not gathered at the moment."""
    return hasattr(weight, "ds_id") and weight.ds_status.name != "AVAILABLE"


def call_with_head(model: Any, through: nn.Module, work: Callable[[Any], Tensor]) -> Tensor:
    """`work(forward)` as one call of a model: what it uses of the head there is gathered, also for
    the way back, and what it gives is DeepSpeed's to average.

    Args:
        through: what is called: the model, or the engine that trains it.
    """
    forward = model.forward
    model.forward = lambda: work(forward)
    try:
        result: Tensor = through()
    finally:
        del model.forward
    return result


def _deepspeed() -> Any:
    require("deepspeed", "deepspeed", "DeepSpeed ZeRO-3")
    import deepspeed

    return deepspeed
