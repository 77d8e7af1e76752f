"""What a layer's heads and neurons are worth, measured on a whole model, layer by layer:

    neurons by activation   ‖W_down[:, j]‖² · mean over tokens of x_j²
    heads by activation     mean over tokens of ‖W_o[:, h] x_h‖²
    neurons by weight       ‖W_gate[j]‖ · ‖W_up[j]‖ · ‖W_down[:, j]‖
    heads by weight         ‖W_o[:, h] W_v[h]‖ (Frobenius)

x is what goes into the last product of the block. The first two are mean squares of what a neuron
or a head adds to the block's output; a neuron's is the sum, over its outgoing weights, of the
squares of Wanda's score |W_ij| · ‖x_j‖ (Sun et al. 2024), per token. Norms' gains and biases are
left out of the scores by weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from evokd.errors import InputError
from evokd.models.layouts import Layout, layers_of
from evokd.models.lm_head import decoder_of, evaluating


def scores_of(
    model: PreTrainedModel, layout: Layout, by: str, calibration: Sequence[dict[str, Tensor]] | None
) -> list[tuple[Tensor, Tensor]]:
    """(heads,) and (neurons,) of each layer, larger is better.

    Args:
        calibration: batches of input_ids and attention_mask, (B, T) each, for scores by activation.

    Raises:
        InputError: scores by activation without calibration.
    """
    if by == "weight":
        return [_weight_scores(layer, layout) for layer in layers_of(model)]
    if not calibration:
        raise InputError(
            "student.cut.by=activation needs training pairs to measure on, and there are none; "
            "type student.cut.by=weight"
        )
    return _activation_scores(model, layout, calibration)


@torch.no_grad()
def _weight_scores(layer: Any, layout: Layout) -> tuple[Tensor, Tensor]:
    attention, mlp = layer.self_attn, layer.mlp
    out = attention.o_proj.weight.float().unflatten(1, (layout.heads, -1))  # (H, heads, d)
    values = attention.v_proj.weight.float().unflatten(0, (layout.groups, -1))  # (groups, d, H)
    values = values.repeat_interleave(layout.heads // layout.groups, 0)
    # ‖A B‖² = tr(AᵀA · BBᵀ), with products of the size of a head
    grams = torch.einsum("ohd,ohe->hde", out, out), torch.einsum("hdo,heo->hde", values, values)
    heads = (grams[0] * grams[1]).sum((1, 2)).clamp(min=0).sqrt()
    rows = [linear.weight.float().norm(dim=1) for linear in (mlp.gate_proj, mlp.up_proj)]
    neurons = rows[0] * rows[1] * mlp.down_proj.weight.float().norm(dim=0)
    return heads.cpu(), neurons.cpu()


@torch.no_grad()
def _activation_scores(
    model: PreTrainedModel, layout: Layout, calibration: Sequence[dict[str, Tensor]]
) -> list[tuple[Tensor, Tensor]]:
    watched: list[tuple[nn.Linear, int]] = []  # what puts heads, or neurons, together; their number
    for layer in layers_of(model):
        parts: Any = layer
        watched += [(parts.self_attn.o_proj, layout.heads), (parts.mlp.down_proj, layout.neurons)]
    moments: list[Any] = [0.0] * len(watched)  # (parts, d, d) of each, sums of x xᵀ
    real = torch.empty(0)

    def watch(place: int, count: int) -> Callable[..., None]:
        def keep(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            x = arguments[0][real].float().unflatten(1, (count, -1))
            alone = x.shape[2] == 1  # neurons: einsum would take ten times as long
            products = x.square().sum(0)[:, None] if alone else torch.einsum("nhd,nhe->hde", x, x)
            moments[place] += products.cpu().double()

        return keep

    tokens = 0
    with ExitStack() as hooks, evaluating(model):
        for place, (linear, count) in enumerate(watched):
            hooks.enter_context(linear.register_forward_pre_hook(watch(place, count)))
        for batch in calibration:
            ids, mask = (batch[k].to(model.device) for k in ("input_ids", "attention_mask"))
            real = mask.bool()
            tokens += int(real.sum())
            decoder_of(model)(input_ids=ids, attention_mask=mask, use_cache=False)
    scores = []
    for (linear, count), moment in zip(watched, moments, strict=True):
        out = linear.weight.double().cpu().unflatten(1, (count, -1))
        scores.append(torch.einsum("hde,ohd,ohe->h", moment, out, out) / tokens)
    return list(zip(scores[::2], scores[1::2], strict=True))
