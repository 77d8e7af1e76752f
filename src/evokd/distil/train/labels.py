"""What a batch asks to be predicted, what its loss is divided by, and what a token weighs."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from evokd.distil.tokens import IGNORED
from evokd.models.packing import pairs_of

Reduction = Literal["token", "sequence"]


def predicting(labels: Tensor) -> Tensor:
    """(B, T), where the next token is a target: the state at position t predicts that at t + 1."""
    predicts = torch.zeros_like(labels, dtype=torch.bool)
    predicts[:, :-1] = labels[:, 1:] != IGNORED
    return predicts


def amount(batch: dict[str, Tensor], reduction: Reduction) -> Tensor:
    """Scalar: the batch's response tokens, or its pairs that have some."""
    predicts = predicting(batch["labels"])
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
