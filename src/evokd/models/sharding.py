"""A model spread over processes: each holds a part of every weight, and gathers a layer to run it.

torch's FSDP2 (`fully_shard`), on GPUs and, for tests, on CPUs. Every process must call a sharded
model equally often: each call gathers weights from all of them.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from evokd.errors import InputError
from evokd.models.loading import rebuilt

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def is_sharded(model: nn.Module) -> bool:
    """Whether each process holds a part of its weights; adapters around them are whole."""
    return _root(model) is not None


def trains_parts(model: nn.Module) -> bool:
    """Whether what is trained of it is sharded."""
    return any(isinstance(p, DTensor) for p in model.parameters() if p.requires_grad)


def kind_of(model: Any) -> type:
    """Its class, which sharding puts another one in front of."""
    return type(model).__mro__[2 if isinstance(model, FSDPModule) else 0]


def load_sharded(
    load: Callable[[], PreTrainedModel],
    device: torch.device,
    compute_dtype: torch.dtype | None = None,
) -> PreTrainedModel:
    """A model of which each process holds a part; called by all processes.

    Only the first one ever has it whole, on its CPU; no device holds more than its part and the one
    tensor that is handed out at the moment.

    Args:
        load: the whole model, on the CPU; called in the first process only.
        compute_dtype: of gathered weights, and so of products; None: the model's own. Gradients are
            summed in float32, or in the model's own dtype where that is wider.

    Raises:
        InputError: a model whose layers aren't known.
    """
    whole = load() if dist.get_rank() == 0 else None
    weights = {} if whole is None else dict(whole.named_parameters())
    parcel: list[Any] = [None if whole is None else _skeleton(whole)]
    del whole
    dist.broadcast_object_list(parcel, src=0)
    model: PreTrainedModel = pickle.loads(parcel[0])
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    _shard(model, mesh, compute_dtype)
    for buffer in model.buffers():
        buffer.data = buffer.to(device)
    _hand_out(model, weights, mesh, device)
    return model


def _skeleton(model: PreTrainedModel) -> bytes:
    """A model without its weights: shapes, buffers, what is trained, which weights are shared."""
    parcel = io.BytesIO()
    _WithoutWeights(parcel).dump(model)
    return parcel.getvalue()


class _WithoutWeights(pickle.Pickler):
    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, nn.Parameter):
            return _shape_only, (thing.shape, thing.dtype, thing.requires_grad)
        return NotImplemented


def _shape_only(shape: torch.Size, dtype: torch.dtype, learns: bool) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape, dtype=dtype, device="meta"), requires_grad=learns)


def _shard(model: PreTrainedModel, mesh: DeviceMesh, compute_dtype: torch.dtype | None) -> None:
    """Each layer is gathered by itself, an embedding that isn't the head as well."""
    policy = MixedPrecisionPolicy(param_dtype=compute_dtype, reduce_dtype=torch.float32)
    layers = [each for each in model.modules() if type(each).__name__ in _layer_classes(model)]
    if not layers:
        raise InputError(
            f"{type(model).__name__} doesn't say which of its modules are layers, so it can't be "
            "sharded; take training.sharding: ddp"
        )
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    apart = [embedding] if embedding.weight is not head.weight else []
    for module in (*layers, *apart, model):
        fully_shard(module, mesh=mesh, mp_policy=policy)
    if mesh.device_type == "cpu" and hasattr(model, "set_force_sum_reduction_for_comms"):
        for module in _shards(model):  # gloo's averages were sums in some versions
            module.set_force_sum_reduction_for_comms(True)


@torch.no_grad()
def _hand_out(
    model: nn.Module, weights: dict[str, nn.Parameter], mesh: DeviceMesh, device: torch.device
) -> None:
    """Give each process its part of the weights, which the first one has, a tensor at a time."""
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for key, parameter in module._parameters.items():
            places.setdefault(id(parameter), []).append((module, key))
    parameters: list[tuple[str, Any]] = list(model.named_parameters())
    for name, parameter in parameters:
        if weights:
            tensor = weights.pop(name).detach().to(device)
        else:
            tensor = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
        part = nn.Parameter(
            distribute_tensor(tensor, mesh, parameter.placements), parameter.requires_grad
        )
        for module, key in places[id(parameter)]:
            setattr(module, key, part)


def _layer_classes(model: PreTrainedModel) -> set[str]:
    return set(model._no_split_modules or ())


def _shards(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def _root(model: nn.Module) -> Any:
    """The outermost module that is sharded."""
    return next((module for module in model.modules() if isinstance(module, FSDPModule)), None)


def call_with_head(model: Any, work: Callable[[Any], Any]) -> Any:
    """`work(forward)` as one call of a sharded model.

    There its head is whole, whatever is computed with it, and the gradients that this gives are
    summed over all processes.
    """
    root = _root(model)
    if not hasattr(root, "_call_with_head"):
        root._call_with_head = lambda work: work(root.forward)
        register_fsdp_forward_method(root, "_call_with_head")
    return root._call_with_head(work)


def release(model: nn.Module) -> None:
    """Let go of what was gathered, after a forward pass that no backward pass follows."""
    for module in _shards(model):
        module.reshard()


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """All weights in every process, in the dtype of its products, for calls that not all processes
    make equally often, such as decoding; without gradients. Nothing happens to whole models."""
    shards, root = _shards(model), _root(model)
    for module in shards:
        module.unshard()
        module.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for module in shards:
            module.reshard()
            module.set_reshard_after_forward(module is not root, recurse=False)


def laid_out_like(weight: Tensor, tensor: Tensor) -> Tensor:
    """A tensor that all processes have; of it the part that is theirs, where the weight is
    sharded."""
    whole = tensor.to(weight.device)
    if not isinstance(weight, DTensor):
        return whole
    return distribute_tensor(whole, weight.device_mesh, weight.placements)


def average_gradients(weights: Iterable[nn.Parameter]) -> None:
    """Have what a sharded model doesn't shard learn from all processes' gradients."""

    def average(gradient: Tensor) -> Tensor:
        mean = gradient / dist.get_world_size()
        dist.all_reduce(mean)
        return mean

    for weight in weights:
        weight.register_hook(average)


def all_finite(model: nn.Module) -> bool:
    """Whether all weights are numbers; called by all processes where the model is sharded."""
    trained = (weight.detach() for weight in model.parameters() if weight.requires_grad)
    parts = (weight.to_local() if isinstance(weight, DTensor) else weight for weight in trained)
    # The two ends of each, which takes no memory beside it.
    finite = all(torch.stack(part.aminmax()).isfinite().all() for part in parts if part.numel())
    if is_sharded(model):
        verdict = torch.tensor(float(finite), device=next(model.buffers()).device)
        dist.all_reduce(verdict, dist.ReduceOp.MIN)
        finite = bool(verdict)
    return finite


def made_whole(model: Any) -> Any:
    """A sharded model as an ordinary one, on the first process's CPU, None in all others; what
    isn't sharded stays as it is. Called by all processes."""
    if not is_sharded(model):
        return model
    weights: dict[str, Any] = get_model_state_dict(model, options=WHOLE)
    return rebuilt(model, model.config, weights) if dist.get_rank() == 0 else None


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """Of a sharded model, on the first process's CPU, each once; empty in all others."""
    weights: dict[str, Any] = get_model_state_dict(model, options=WHOLE)
    once = {name for name, _ in model.named_parameters()}
    again = {name for name, _ in model.named_parameters(remove_duplicate=False)} - once
    return {name: tensor for name, tensor in weights.items() if name not in again}
