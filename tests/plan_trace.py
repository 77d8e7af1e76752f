"""What torch's own trackers see of a step of a real model, without weights and without a GPU.

Tensors are fake, so that a layer of 70 B takes no memory, and the eight processes of FSDP are one.
The loss keeps what `chunked_loss` keeps: the gradients of states and head, in float32.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker
from torch.distributed._tools.mem_tracker import MemTracker
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import AutoModelForCausalLM

from evokd.plan.shapes import Shape

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
config_of = importlib.import_module("plan_check").config_of

DEVICES = 8


class KeptGradients(torch.autograd.Function):
    """A loss whose gradients are computed with it."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.dtype = weight.dtype
        ctx.gradients = torch.empty_like(hidden), torch.empty_like(weight, dtype=torch.float32)
        return hidden.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: torch.Tensor) -> Any:
        of_hidden, of_weight = ctx.gradients
        ctx.gradients = None
        return of_hidden, of_weight.to(ctx.dtype)


def traced(
    shape: Shape, tokens: tuple[int, int], placement: str, half: bool, checkpointing: bool
) -> dict[str, float]:
    """Bytes at the peak of a forward and backward pass, by what they are; "Total" their sum."""
    mesh = _mesh() if placement == "fsdp2" else None
    with FakeTensorMode(allow_non_fake_inputs=True):
        model: Any = AutoModelForCausalLM.from_config(config_of(shape)).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        tracker: Any = MemTracker() if mesh is None else _sharded(model, mesh)
        if mesh is None:
            tracker.track_external(model)
        ids = torch.randint(3, shape.vocabulary, tokens)
        mask = torch.ones_like(ids)
        mask[0, :2] = 0
        kept: list[torch.Tensor] = []
        model.model.register_forward_hook(lambda _m, _a, out: kept.append(out.last_hidden_state))
        cast = half and mesh is None
        with tracker:
            with torch.autocast("cpu", torch.bfloat16, enabled=cast):
                model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=1)
            KeptGradients.apply(kept.pop()[:, :1], model.lm_head.weight).backward()
    peak = tracker.get_tracker_snapshot("peak")
    return {str(getattr(k, "name", k)): n for part in peak.values() for k, n in part.items()}


def _mesh() -> Any:
    """Of processes that aren't there."""
    if not dist.is_initialized():
        dist.init_process_group("fake", rank=0, world_size=DEVICES, store=FakeStore())
    return init_device_mesh("cpu", (DEVICES,))


def _sharded(model: Any, mesh: Any) -> Any:
    """As accelerate does: each layer, and norm and head together, whole until the step ends."""
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    how: dict[str, Any] = {"mesh": mesh, "mp_policy": policy}
    for layer in model.model.layers:
        fully_shard(layer, **how)
    tail = [model.model.norm, model.lm_head]
    if model.config.tie_word_embeddings:
        fully_shard([model.model.embed_tokens, *tail], **how, reshard_after_forward=False)
    else:
        fully_shard(model.model.embed_tokens, **how)
        fully_shard(tail, **how, reshard_after_forward=False)
    fully_shard(model, **how)
    return FSDPMemTracker(model)
