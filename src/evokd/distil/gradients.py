"""From the gradients of a chunk's logits to those of hidden states and head: two products."""

from __future__ import annotations

import torch
from torch import Tensor

from evokd.models.lm_head import Head
from evokd.models.products import multiply


class Gradients:
    """Gradients of hidden states, head weight and bias, as far as they are wanted.

    Args:
        hidden: (N, H)
        weight, bias: of the head as it is trained; `head`: as it is multiplied with.
        size: entries of the vocabulary that take part; the gradient of the others is 0.
        wanted: of hidden, weight and bias.
    """

    def __init__(
        self,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        head: Head,
        size: int,
        wanted: list[bool],
    ):
        self.hidden, self.head, self.size = hidden, head, size
        self.dtypes = weight.dtype, None if bias is None else bias.dtype
        dtype = wide(hidden)
        self.of_hidden = torch.empty_like(hidden) if wanted[0] else None
        # Many chunks add up in these, so not in half precision.
        self.of_weight = torch.empty_like(weight, dtype=dtype) if wanted[1] else None
        self.of_bias = torch.zeros(len(weight), dtype=dtype, device=weight.device)
        self.wants_bias = wanted[2]
        self.empty = True

    def add(self, gradient: Tensor, rows: slice) -> None:
        """gradient: (n, size), of a chunk's logits."""
        if self.wants_bias:
            self.of_bias[: self.size] += gradient.sum(0)
        if gradient.device.type == "cpu":
            self._add_on_cpu(gradient, rows)
        else:
            self._add_at_once(gradient.to(self.head.weight.dtype), rows)
        self.empty = False

    def _add_on_cpu(self, gradient: Tensor, rows: slice) -> None:
        """In the gradient's precision."""
        hidden, weight = self.hidden[rows], self.head.weight[: self.size]
        if self.of_hidden is not None and self.of_hidden.dtype == gradient.dtype:
            multiply(gradient, weight, self.of_hidden[rows])
        elif self.of_hidden is not None:
            of_hidden = torch.empty_like(hidden, dtype=gradient.dtype)
            multiply(gradient, weight, of_hidden)
            self.of_hidden[rows] = of_hidden
        if self.of_weight is not None:
            of_weight = self.of_weight[: self.size]
            multiply(gradient.t(), hidden, of_weight, add=not self.empty)

    def _add_at_once(self, gradient: Tensor, rows: slice) -> None:
        """On a GPU, in the weight's precision; chunks add up in float32 or wider."""
        weight, hidden = self.head.weight[: self.size], self.hidden[rows].to(gradient.dtype)
        if self.of_hidden is not None:
            self.of_hidden[rows] = (gradient @ weight).to(self.of_hidden.dtype)
        if self.of_weight is not None:
            part = self.of_weight[: self.size]
            if self.empty:
                part.copy_(gradient.t() @ hidden)
            elif part.dtype == gradient.dtype:
                part.addmm_(gradient.t(), hidden)
            else:
                part.add_(gradient.t() @ hidden)

    def finished(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        of_weight = self.of_weight
        if of_weight is not None:
            of_weight[0 if self.empty else self.size :] = 0
            of_weight = of_weight.to(self.dtypes[0])
        return (
            self.of_hidden,
            of_weight,
            self.of_bias.to(self.dtypes[1]) if self.wants_bias else None,
        )


def wide(tensor: Tensor) -> torch.dtype:
    """What is added up in: float32, or float64 where that is given."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
