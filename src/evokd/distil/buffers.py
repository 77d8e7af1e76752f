"""Memory that the logits of a chunk stand in, and how many of them it holds."""

from __future__ import annotations

from collections.abc import Sequence
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
        self, name: str, shape: tuple[int, int], like: Tensor, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """(rows, size) of `stored_as(dtype, like)`, with anything in it, on the device of `like`;
        rows start at whole 64 bytes."""
        rows, size = shape
        stride = -(-size // 16) * 16
        dtype = stored_as(dtype, like)
        kept = self._kept.get(name)
        known = kept is not None and (kept.dtype, kept.device) == (dtype, like.device)
        if kept is None or not known or kept.numel() < rows * stride:
            self._kept.pop(name, None)  # first, so that old and new never stand side by side
            kept = torch.empty(rows * stride, dtype=dtype, device=like.device)
            self._kept[name] = kept
        return kept[: rows * stride].view(rows, stride)[:, :size]


def rows_at_once(size: int, dtypes: Sequence[torch.dtype], like: Tensor) -> int:
    """Tokens whose logits, of `size` entries in each of these dtypes, stand in memory at once."""
    device = "cpu" if like.device.type == "cpu" else "cuda"
    row = size * sum(stored_as(dtype, like).itemsize for dtype in dtypes)
    return min(max(BUFFER_BYTES[device] // row, _LEAST_ROWS), _MOST_ROWS[device])


def stored_as(dtype: torch.dtype, like: Tensor) -> torch.dtype:
    """What logits that are made in `dtype` stand in: a CPU computes in float32 or wider."""
    on_cpu = like.device.type == "cpu" or like.dtype == torch.float64
    return wide(like) if on_cpu else dtype


def wide(tensor: Tensor) -> torch.dtype:
    """What is added up in: float32, or float64 where that is given."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
