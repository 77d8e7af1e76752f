"""Memory that the logits of a chunk stand in, and how many of them it holds."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

BUFFER_BYTES = {"cpu": 125 << 20, "cuda": 1 << 30}
"""What the logits of a chunk may take, student's and teacher's together: 512 tokens of 32,000
entries. Each chunk reads both heads anew, so smaller ones are slower."""
_LEAST_ROWS, _MOST_ROWS = 128, {"cpu": 512, "cuda": 4096}


@dataclass
class Buffers:
    """Memory for the logits of a chunk: fresh pages cost more than the arithmetic on them."""

    _kept: dict[str, Tensor] = field(default_factory=dict)

    def of(
        self, name: str, shape: tuple[int, int], like: Tensor, dtype: torch.dtype | None = None
    ) -> Tensor:
        """(rows, size), with anything in it, on the device of `like`; rows start at whole 64 bytes.

        In `dtype` on a GPU, where that is given; else in float32 or wider.
        """
        rows, size = shape
        stride = -(-size // 16) * 16
        if dtype is None or like.device.type == "cpu":
            dtype = wide(like)
        kept = self._kept.get(name)
        known = kept is not None and (kept.dtype, kept.device) == (dtype, like.device)
        if kept is None or not known or kept.numel() < rows * stride:
            self._kept.pop(name, None)  # first, so that old and new never stand side by side
            kept = torch.empty(rows * stride, dtype=dtype, device=like.device)
            self._kept[name] = kept
        return kept[: rows * stride].view(rows, stride)[:, :size]


def rows_at_once(size: int, has_teacher: bool, like: Tensor) -> int:
    """Tokens whose logits, of `size` entries, stand in memory at once."""
    device = "cpu" if like.device.type == "cpu" else "cuda"
    row = size * (8 if like.dtype == torch.float64 else 4) * (2 if has_teacher else 1)
    return min(max(BUFFER_BYTES[device] // row, _LEAST_ROWS), _MOST_ROWS[device])


def wide(tensor: Tensor) -> torch.dtype:
    """What is added up in: float32, or float64 where that is given."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
