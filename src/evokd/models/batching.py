"""What is decoded or scored at once: sequences of like length, as many as a budget allows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Groups = Iterable[list[tuple[int, list[int]]]]
"""Groups of (place of the request, its tokens), as they are done. Tokens may go on behind the end
of an answer and behind its cap."""
Sizes = Sequence[int] | np.ndarray
"""In tokens."""
Progress = Callable[[int, int], None]
"""Called with what is done and what there is in all: lines, sequences, …"""


@dataclass(frozen=True)
class Request:
    """A prompt, and the most tokens that may answer it."""

    prompt_ids: Sequence[int]
    cap: int

    @property
    def size(self) -> int:
        """Tokens that it may come to."""
        return len(self.prompt_ids) + self.cap


@dataclass(frozen=True)
class Budget:
    """Most rows at once, and most tokens: rows × the size of the longest. A single row may exceed
    it."""

    rows: int
    tokens: int

    def more(self, waiting: Sizes, present: Sizes = ()) -> int:
        """How many of those waiting, in their order, fit beside those present; both as sizes."""
        longest = max(present, default=0)
        rows = len(present)
        for size in waiting:
            longest = max(longest, size)
            if rows and (rows >= self.rows or (rows + 1) * longest > self.tokens):
                break
            rows += 1
        return rows - len(present)

    def batches(self, sizes: Sizes) -> Iterator[range]:
        """Places of neighbours that fit together, all places in their order."""
        start = 0
        while start < len(sizes):
            stop = start + self.more(sizes[start : start + self.rows])
            yield range(start, stop)
            start = stop


def longest_first(sizes: Sequence[int]) -> list[int]:
    """Places in an order that puts like sizes together, and what may not fit into memory first."""
    return sorted(range(len(sizes)), key=lambda place: -sizes[place])


def max_positions(model: Any) -> int:
    """Most tokens of a sequence that a model can read."""
    config = model.config.get_text_config(decoder=True)
    return getattr(config, "max_position_embeddings", None) or sys.maxsize


def left_padded(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids that end at the same column, and 1 where there is one: (rows, columns) int64.

    Padding is token 0; what that means doesn't matter, it is masked by its position.
    """
    width = max(len(ids) for ids in prompts)
    padding = [width - len(ids) for ids in prompts]
    rows = [[0] * pad + list(ids) for pad, ids in zip(padding, prompts, strict=True)]
    return torch.tensor(rows, device=device), behind_padding(padding, width, device).long()


def behind_padding(padding: Sequence[int], columns: int, device: torch.device) -> Tensor:
    """(rows, columns) bool: all but so many columns in front of each row."""
    return torch.arange(columns, device=device) >= torch.tensor(padding, device=device)[:, None]
