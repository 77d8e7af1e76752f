"""A model spread over processes: each holds a part of every weight, and gathers a layer to run it.

torch's FSDP2 (`fully_shard`), on GPUs and, for tests, on CPUs; or DeepSpeed's ZeRO-3 (`zero3`),
where that is asked for. Every process must call a sharded model equally often: each call gathers
weights from all of them.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
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

from evokd import processes
from evokd.errors import InputError
from evokd.models import zero3
from evokd.models.loading import rebuilt

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def is_sharded(model: nn.Module) -> bool:
    """Whether each process holds a part of its weights; adapters around them are whole."""
    return _root(model) is not None or zero3.is_partitioned(model)


def trains_parts(model: nn.Module) -> bool:
    """Whether what is trained of it is sharded by FSDP2."""
    return any(isinstance(p, DTensor) for p in model.parameters() if p.requires_grad)


def load_sharded(
    load: Callable[[], PreTrainedModel],
    device: torch.device,
    compute_dtype: torch.dtype | None = None,
) -> PreTrainedModel:
    """A model of which each process holds a part; called by all processes. By ZeRO-3 where
    accelerate was told so: then it can be called once its training has begun, or `zero3` has made
    it callable.

    Only the first one ever has it whole, on its CPU; no device holds more than its part and the one
    tensor that is handed out at the moment.

    Args:
        load: the whole model, on the CPU; called in the first process only.
        compute_dtype: of gathered weights, and so of products; None: the model's own. Gradients are
            summed in float32, or in the model's own dtype where that is wider. DeepSpeed's model is
            in it altogether, and its optimizer in float32.

    Raises:
        InputError: a model whose layers aren't known.
    """
    whole = load() if dist.get_rank() == 0 else None
    weights = {} if whole is None else dict(whole.named_parameters())
    parcel: list[Any] = [None if whole is None else _skeleton(whole)]
    del whole
    dist.broadcast_object_list(parcel, src=0)
    model: PreTrainedModel = pickle.loads(parcel[0])
    for buffer in model.buffers():
        buffer.data = buffer.to(device)
    if processes.by_zero3():
        model.to(dtype=compute_dtype or model.dtype)  # type: ignore[call-arg]
        _hand_out(model, weights, device, zero3.partitioned)
        return model
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    _shard(model, mesh, compute_dtype)
    _hand_out(model, weights, device, partial(_dealt, mesh))
    return model


def _dealt(mesh: DeviceMesh, like: Any, whole: Tensor) -> nn.Parameter:
    return nn.Parameter(distribute_tensor(whole, mesh, like.placements), like.requires_grad)


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
    model: nn.Module,
    weights: dict[str, nn.Parameter],
    device: torch.device,
    deal: Callable[[nn.Parameter, Tensor], nn.Parameter],
) -> None:
    """Give each process its part of the weights, which the first one has, a tensor at a time.

    Args:
        deal: (a weight of the model, the whole tensor) → the part.
    """
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for key, parameter in module._parameters.items():
            places.setdefault(id(parameter), []).append((module, key))
    parameters: list[tuple[str, Any]] = list(model.named_parameters())
    for name, parameter in parameters:
        if weights:
            tensor = weights.pop(name).detach().to(device, parameter.dtype)
        else:
            tensor = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
        part = deal(parameter, tensor)
        for module, key in places[id(parameter)]:
            setattr(module, key, part)


def _layer_classes(model: PreTrainedModel) -> set[str]:
    return set(model._no_split_modules or ())


def _shards(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def _root(model: nn.Module) -> Any:
    """The outermost module that is sharded."""
    return next((module for module in model.modules() if isinstance(module, FSDPModule)), None)


def call_with_head(model: Any, through: nn.Module, work: Callable[[Any], Tensor]) -> Tensor:
    """`work(forward)` as one call of a sharded model.

    There its head is whole, whatever is computed with it, and the gradients that this gives are
    summed over all processes.

    Args:
        through: what a training calls for the model: itself, or what wraps it.
    """
    root = _root(model)
    if root is None:
        return zero3.call_with_head(model, through, work)
    if not hasattr(root, "_call_with_head"):
        root._call_with_head = lambda work: work(root.forward)
        register_fsdp_forward_method(root, "_call_with_head")
    result: Tensor = root._call_with_head(work)
    return result


def release(model: nn.Module) -> None:
    """Let go of what was gathered, after a forward pass that no backward pass follows."""
    for module in _shards(model):
        module.reshard()


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """All weights in every process, in the dtype of its products, for calls that not all processes
    make equally often, such as decoding; without gradients. Nothing happens to whole models."""
    if zero3.is_partitioned(model):
        with zero3.opened(model.parameters()):
            yield
        return
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


def opened(weights: Sequence[Tensor]) -> Any:
    """A context to change weights in that all processes change alike: ZeRO-3's are whole there."""
    return zero3.opened(weights) if any(map(zero3.is_away, weights)) else nullcontext()


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
    parts = (_own_part(weight) for weight in trained)
    # The two ends of each, which takes no memory beside it.
    finite = all(torch.stack(part.aminmax()).isfinite().all() for part in parts if part.numel())
    if is_sharded(model):
        verdict = torch.tensor(float(finite), device=next(model.parameters()).device)
        dist.all_reduce(verdict, dist.ReduceOp.MIN)
        finite = bool(verdict)
    return finite


def _own_part(weight: Tensor) -> Tensor:
    """What this process has of a weight."""
    if isinstance(weight, DTensor):
        return weight.to_local()
    return getattr(weight, "ds_tensor", weight)


def made_whole(model: Any) -> Any:
    """A sharded model as an ordinary one, on the first process's CPU, None in all others; what
    isn't sharded stays as it is. Called by all processes."""
    if not is_sharded(model):
        return model
    weights = _state_of(model)
    return rebuilt(model, model.config, weights) if dist.get_rank() == 0 else None


def _state_of(model: Any) -> dict[str, Any]:
    if zero3.is_partitioned(model):
        return zero3.state_of(model)
    return get_model_state_dict(model, options=WHOLE)


def whole_weights(model: nn.Module) -> dict[str, Tensor]:
    """Of a sharded model, on the first process's CPU, each once; empty in all others."""
    weights = _state_of(model)
    once = {name for name, _ in model.named_parameters()}
    again = {name for name, _ in model.named_parameters(remove_duplicate=False)} - once
    return {name: tensor for name, tensor in weights.items() if name not in again}
