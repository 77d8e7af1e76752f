"""From training sequences to what a forward pass reads, padded, packed, with weights; and what a
batch's loss is divided by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from evokd.models.encoded import target_mask
from evokd.models.packing import pack, pairs_of, width_weight

Example = dict[str, Any]
"""A training sequence: input_ids and labels, perhaps a weight."""
Batch = dict[str, Tensor]
Collator = Callable[[list[Example]], Batch]
Reduction = Literal["token", "sequence"]


def lengths_of(data: Any) -> np.ndarray:
    """(n,), tokens of each sequence of a data set."""
    if hasattr(data, "lengths"):
        return np.asarray(data.lengths)
    return np.array([len(data[i]["input_ids"]) for i in range(len(data))], np.int64)


def collating(padded: Collator, packed_for: Sequence[nn.Module] = ()) -> Collator:
    """Batches as `padded` makes them, or packed for some models; weights of pairs, (pairs,), are
    laid beside, where an example has one."""
    weight = width_weight(packed_for) if packed_for else None

    def collated(examples: list[Example]) -> Batch:
        rest = [{k: v for k, v in example.items() if k != "weight"} for example in examples]
        batch = pack(padded(rest), weight) if packed_for else padded(rest)
        if any("weight" in example for example in examples):
            weights = [float(example.get("weight", 1.0)) for example in examples]
            batch = {**batch, "weights": torch.tensor(weights)}
        return batch

    return collated


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
        self.lengths = lengths_of(data)

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, index: int) -> Example:
        return {**self.data[index], "weight": self.weights[index]}


def num_items(batch: Batch, reduction: Reduction) -> Tensor:
    """Scalar: the batch's response tokens, or its pairs that have some."""
    predicts = target_mask(batch["labels"])
    if reduction == "token":
        return predicts.sum()
    return (pairs_of(batch)[predicts].bincount() > 0).sum()


class ResponseTokens(NamedTuple):
    """The N tokens of a batch that are learned."""

    predicts: Tensor
    """(B, T) bool, the positions whose states predict them."""
    labels: Tensor
    """(N,), their ids."""
    weights: Tensor | None
    """(N,), factors of their losses; None: all are 1."""


def response_tokens(batch: Batch, reduction: Reduction) -> ResponseTokens:
    """What of a padded or packed batch has a loss, and how much it weighs."""
    predicts = target_mask(batch["labels"])
    weights = None
    if reduction == "sequence" or "weights" in batch:
        pairs = pairs_of(batch)[predicts]
        if reduction == "sequence":
            weights = 1.0 / pairs.bincount()[pairs]
        if "weights" in batch:
            of_pairs = batch["weights"][pairs]
            weights = of_pairs if weights is None else weights * of_pairs
    return ResponseTokens(predicts, batch["labels"].roll(-1, dims=1)[predicts], weights)
