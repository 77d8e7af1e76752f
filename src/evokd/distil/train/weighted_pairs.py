"""Training pairs with a weight each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from evokd.distil.train.collators import lengths_of
from evokd.distil.train.on_policy import Example, Sampler


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


@dataclass(frozen=True)
class PairsToWeigh:
    """What the pairs of a training are weighed by, before it starts."""

    student: nn.Module
    """As it starts; it is left as it was."""
    sampler: Sampler
    """Draws the student's translations."""
    data: Any
    """A data set of input_ids and labels (−100 on the prompt)."""
    decode: Callable[[Sequence[int]], str]
    """From token ids of a response, end token and all, to its text."""
    folder: Path
    """Of the training; what is made may be kept there."""
    seed: int = 0
    log: Callable[[str], None] = print
    progress: Callable[[int, int], None] | None = None
    """Called with the number of pairs done and of all."""
