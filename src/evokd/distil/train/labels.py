"""What a batch's loss is divided by, and what a token weighs."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from evokd.distil.token_batch import target_mask
from evokd.models.packing import pairs_of

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
