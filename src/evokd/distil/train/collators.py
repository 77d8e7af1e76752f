"""From training sequences to what a forward pass reads, in layers: padded, packed, with weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from evokd.models.encoding import collate
from evokd.models.packing import pack

Collator = Callable[[list[dict[str, Any]]], dict[str, Tensor]]
"""From examples of input_ids and labels, perhaps with a weight, to a batch."""


def lengths_of(data: Any) -> list[int]:
    if hasattr(data, "lengths"):
        return list(data.lengths)
    return [len(data[i]["input_ids"]) for i in range(len(data))]


def padding_to(model: nn.Module) -> Callable[[list[dict[str, Any]]], dict[str, Tensor]]:
    config: Any = model.config
    # Any id will do as filler: attention mask and labels say where it stands.
    filler = config.pad_token_id if config.pad_token_id is not None else 0

    def padded(examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        return collate(examples, filler)

    return padded


def packing_after(
    padded: Callable[[list[dict[str, Any]]], dict[str, Tensor]], weight: float | None
) -> Callable[[list[dict[str, Any]]], dict[str, Tensor]]:
    return lambda examples: pack(padded(examples), weight)


def weighing_after(
    collator: Callable[[list[dict[str, Any]]], dict[str, Tensor]],
) -> Callable[[list[dict[str, Any]]], dict[str, Tensor]]:
    """Weights of pairs, (pairs,), beside what a collator makes of the rest."""

    def weighed(examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        if not any("weight" in example for example in examples):
            return collator(examples)
        weights = [float(example.get("weight", 1.0)) for example in examples]
        rest = [{k: v for k, v in example.items() if k != "weight"} for example in examples]
        return {**collator(rest), "weights": torch.tensor(weights)}

    return weighed
