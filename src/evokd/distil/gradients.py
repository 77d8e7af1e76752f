"""From the gradients of a chunk's logits to those of hidden states and head: two products."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from evokd.distil.buffers import wide
from evokd.distil.token_batch import TokenBatch
from evokd.models.products import multiply


class Gradients:
    """Gradients of hidden states, head weight and bias, as far as they are needed.

    Args:
        batch: hidden states, and the head as it is multiplied with; entries of the vocabulary
            beyond its size have a gradient of 0.
        weight, bias: of the head as it is trained.
        needed: of hidden, weight and bias.
    """

    def __init__(
        self, batch: TokenBatch, weight: Tensor, bias: Tensor | None, needed: Sequence[bool]
    ):
        self.hidden, self.head, self.size = batch.hidden, batch.head, batch.vocabulary_size
        self.dtypes = weight.dtype, None if bias is None else bias.dtype
        dtype = wide(batch.hidden)
        self.of_hidden = torch.empty_like(batch.hidden) if needed[0] else None
        # Many chunks add up in these, so not in half precision.
        self.of_weight = torch.empty_like(weight, dtype=dtype) if needed[1] else None
        self.of_bias = torch.zeros(len(weight), dtype=dtype, device=weight.device)
        self.needs_bias = needed[2]
        self.empty = True

    def add(self, gradient: Tensor, rows: slice) -> None:
        """gradient: (n, size), of a chunk's logits."""
        if self.needs_bias:
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
            self.of_bias.to(self.dtypes[1]) if self.needs_bias else None,
        )
