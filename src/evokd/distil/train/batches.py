"""From training sequences to what a forward pass reads, padded, packed, with weights; and what a
batch's loss is divided by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from evokd.models.encoding import target_mask
from evokd.models.packing import pack, pairs_of

Example = dict[str, Any]
"""A training sequence: input_ids and labels, perhaps a weight."""
Collator = Callable[[list[dict[str, Any]]], dict[str, Tensor]]
"""From examples of input_ids and labels, perhaps with a weight, to a batch."""


def lengths_of(data: Any) -> list[int]:
    if hasattr(data, "lengths"):
        return list(data.lengths)
    return [len(data[i]["input_ids"]) for i in range(len(data))]


def packing_after(padded: Collator, weight: float | None) -> Collator:
    return lambda examples: pack(padded(examples), weight)


def weighing_after(
    collator: Collator,
) -> Collator:
    """Weights of pairs, (pairs,), beside what a collator makes of the rest."""

    def weighed(examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        if not any("weight" in example for example in examples):
            return collator(examples)
        weights = [float(example.get("weight", 1.0)) for example in examples]
        rest = [{k: v for k, v in example.items() if k != "weight"} for example in examples]
        return {**collator(rest), "weights": torch.tensor(weights)}

    return weighed


class WeightedPairs(Dataset):
    """A data set with a weight for each of its pairs, as the trainer takes it.

    Raises:
        ValueError: their numbers differ.
    """

    def __init__(self, data: Any, weights: Sequence[float]):
        if len(data) != len(weights):
            raise ValueError(f"{len(weights)} weights for {len(data)} pairs")
        self.data = data
        self.weights = list(weights)

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, index: int) -> Example:
        return {**self.data[index], "weight": self.weights[index]}

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sequence."""
        return lengths_of(self.data)


Reduction = Literal["token", "sequence"]


def num_items(batch: dict[str, Tensor], reduction: Reduction) -> Tensor:
    """Scalar: the batch's response tokens, or its pairs that have some."""
    predicts = target_mask(batch["labels"])
    if reduction == "token":
        return predicts.sum()
    return (pairs_of(batch)[predicts].bincount() > 0).sum()


def token_weights(
    batch: dict[str, Tensor], predicts: Tensor, reduction: Reduction
) -> Tensor | None:
    """(N,), factors of the tokens' losses; None: all are 1."""
    weights = None
    if reduction == "sequence" or "weights" in batch:
        pairs = pairs_of(batch)[predicts]
        if reduction == "sequence":
            weights = 1.0 / pairs.bincount()[pairs]
        if "weights" in batch:
            of_pairs = batch["weights"][pairs]
            weights = of_pairs if weights is None else weights * of_pairs
    return weights
