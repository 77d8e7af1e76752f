"""From input ids to final hidden states, and from hidden states to logits, apart.

Logits are the largest tensors of a distillation step (tokens × vocabulary, twice). Taken apart, the
head can be applied where there is a response token only, a chunk at a time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from evokd.errors import InputError
from evokd.models import zero3
from evokd.models.products import multiply


@dataclass(frozen=True)
class Head:
    """A language model's last step: logits = cap(scale · (hidden Wᵀ + b))."""

    weight: Tensor
    """(V, H)"""
    bias: Tensor | None = None
    """(V,)"""
    scale: float = 1.0
    """Granite divides by logits_scaling, Cohere multiplies by logit_scale."""
    cap: float | None = None
    """Gemma: logits = cap · tanh(logits / cap)."""

    @property
    def raw_dtype(self) -> torch.dtype:
        """What its products lose nothing in on a GPU, where they are rounded to the weight's."""
        return self.weight.dtype if self.bias is None else torch.float32

    @property
    def dtype(self) -> torch.dtype:
        """The same of finished logits."""
        return self.raw_dtype if self.scale == 1.0 and self.cap is None else torch.float32

    def map(self, change: Callable[[Tensor], Tensor]) -> Head:
        """The same with weight and bias changed alike."""
        bias = None if self.bias is None else change(self.bias)
        return replace(self, weight=change(self.weight), bias=bias)

    def raw(self, hidden: Tensor, size: int, out: Tensor | None = None) -> Tensor:
        """(N, H) → (N, size), before scale and cap; written into `out` where that is given.

        A half-precision head is multiplied in half precision, unless `out` is wider: a CPU then
        multiplies in `out`'s precision.
        """
        if out is None:
            bias = None if self.bias is None else self.bias[:size]
            return linear(hidden.to(self.weight.dtype), self.weight[:size], bias)
        if out.device.type == "cpu":
            multiply(hidden, self.weight[:size].t(), out)
        elif self.weight.dtype == out.dtype:
            torch.mm(hidden.to(out.dtype), self.weight[:size].t(), out=out)
        else:
            out.copy_(hidden.to(self.weight.dtype) @ self.weight[:size].t())
        return out if self.bias is None else out.add_(self.bias[:size])

    def logits(self, hidden: Tensor, size: int | None = None, out: Tensor | None = None) -> Tensor:
        """(N, H) → (N, size): the logits of the first `size` tokens of the vocabulary."""
        size = self.weight.shape[0] if size is None else size
        finish = softcapped if out is None else apply_softcap
        return finish(self.raw(hidden, size, out), self.scale, self.cap)


def apply_softcap(logits: Tensor, scale: float, cap: float | None) -> Tensor:
    """A head's scale and soft cap, in place."""
    if cap is not None:
        return logits.mul_(scale / cap).tanh_().mul_(cap)
    return logits if scale == 1.0 else logits.mul_(scale)


def softcapped(raw: Tensor, scale: float, cap: float | None) -> Tensor:
    """A head's scale and soft cap, in float32 or wider; differentiable."""
    logits = raw if raw.dtype == torch.float64 else raw.float()
    if scale != 1.0:
        logits = logits * scale
    return logits if cap is None else cap * torch.tanh(logits / cap)


def head_of(model: nn.Module) -> Head:
    """The head of a transformers causal language model; a copy of it where ZeRO-3 spreads the model
    and isn't calling it, which all processes must ask for together."""
    layer = model.get_output_embeddings()  # type: ignore[operator]
    config = model.config.get_text_config()  # type: ignore[union-attr, operator]
    scale = getattr(config, "logit_scale", None) or 1.0
    scale = scale / (getattr(config, "logits_scaling", None) or 1.0)
    weight, bias = layer.weight, getattr(layer, "bias", None)
    if zero3.is_away(weight):
        weight, bias = zero3.whole([weight, bias])
    return Head(
        weight=weight,
        bias=bias,
        scale=scale,
        cap=getattr(config, "final_logit_softcapping", None),
    )


def final_hidden(model: nn.Module, wrapped: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """(B, T, H): the last hidden states, after the final norm.

    Args:
        model: the causal language model.
        wrapped: the module to call: the model itself, or what DDP or torch.compile made of it. The
            wrapper is called so that its hooks run; the hidden states are read off the decoder
            inside.
        inputs: input_ids, and attention_mask of a padded or position_ids of a packed batch, (B, T).
    """
    decoder = decoder_of(model)
    taps = (hook for hook in decoder._forward_hooks.values() if isinstance(hook, _Tap))
    tap = next(taps, None) or _Tap(decoder)
    tap.open = True
    try:
        wrapped(**inputs, use_cache=False, **_one_logit(model, inputs["input_ids"]))
    finally:
        tap.open = False
    hidden, tap.hidden = tap.hidden, None
    assert hidden is not None, "the decoder wasn't called"
    return hidden


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Without dropout, for as long as it lasts."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


class _Tap:
    """A forward hook that keeps what a decoder puts out, while it is open.

    It stays on the module from its first use on: torch.compile takes the hooks it finds into what
    it compiles, and never looks at them again.
    """

    def __init__(self, decoder: nn.Module) -> None:
        decoder.register_forward_hook(self)
        self.open = False
        self.hidden: Tensor | None = None

    def __call__(self, _module: nn.Module, _args: Any, output: Any) -> None:
        if self.open:
            self.hidden = output[0] if isinstance(output, tuple) else output.last_hidden_state


def decoder_of(model: Any) -> nn.Module:
    """The part of a causal language model below its head."""
    decoder: nn.Module = _without_adapter(model).get_decoder()
    return decoder


@torch.no_grad()
def check_head(model: nn.Module) -> None:
    """See that hidden states and head, taken apart, give the model's own logits.

    Raises:
        ValueError: they don't, or something besides weight and bias is trained there (an adapter
            that starts at zero wouldn't show in the logits).
        InputError: its logits aren't numbers.
    """
    layer = model.get_output_embeddings()  # type: ignore[operator]
    device = next(model.parameters()).device
    ids = torch.arange(4, device=device)[None]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with evaluating(model):
        theirs = model(**inputs, use_cache=False).logits[0].float()
        hidden = final_hidden(model, model, inputs)[0]
    head = head_of(model)  # whole now, where the model is sharded
    others = [
        name
        for name, parameter in layer.named_parameters()
        if parameter.requires_grad and parameter is not head.weight and parameter is not head.bias
    ]
    if others:
        raise ValueError(
            f"{type(model).__name__} trains {', '.join(others)} in its head; only weight and bias "
            "are known here, so leave the output embeddings out of the adapter's target modules"
        )
    ours = head.logits(hidden).float()
    if not theirs.isfinite().all():
        raise InputError(
            f"{type(model).__name__}: its logits aren't finite. Its weights are damaged, or were "
            "driven too far: a smaller training.learning_rate may help"
        )
    tolerance = 1e-3 if head.weight.dtype == torch.float32 else 0.1
    if not torch.allclose(theirs, ours, atol=tolerance * theirs.abs().max().item()):
        gap = (theirs - ours).abs().max().item()
        raise ValueError(
            f"{type(model).__name__} does more at its head than weight, bias, scale and soft cap: "
            f"its logits differ by {gap:.3g} from those made of its hidden states"
        )


def _without_adapter(model: Any) -> Any:
    """The causal language model inside a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _one_logit(model: nn.Module, ids: Tensor) -> dict[str, Tensor]:
    """Spare the model the logits that nobody looks at, where it knows how.

    The first position, as an index: a slice of the last one isn't contiguous, and without gradients
    bfloat16 would copy the head's weight for it, once for each row.
    """
    known = inspect.signature(_without_adapter(model).forward).parameters
    first = torch.zeros(1, dtype=torch.long, device=ids.device)
    return {"logits_to_keep": first} if "logits_to_keep" in known else {}
