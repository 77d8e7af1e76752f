"""Where the teacher's word comes from: one seam, `TeacherSignal`.

The objective doesn't know whether the teacher was run a moment ago or read from a file. Here is the
live one; a cache needs only the same method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from evokd.distil.fused import TeacherLogits
from evokd.models.heads import Head, check_head, final_hidden, head_of


class TeacherSignal(Protocol):
    """A teacher, wherever it is."""

    def on(self, inputs: dict[str, Tensor], predicts: Tensor) -> TeacherLogits:
        """What the teacher says at the positions of a batch that predict a response token.

        Args:
            inputs: input_ids and attention_mask, (B, T).
            predicts: (B, T) bool, N of them true.

        Returns:
            The logits of those N tokens, in row order, a chunk at a time.
        """
        ...


@dataclass(frozen=True)
class HeadedHidden:
    """Teacher logits made of hidden states when they are asked for."""

    hidden: Tensor
    """(N, H)"""
    head: Head

    @torch.no_grad()
    def logits(self, rows: slice, size: int) -> Tensor:
        return self.head.logits(self.hidden[rows], size)


class LiveTeacher:
    """A model beside the student, run without gradients for each batch."""

    def __init__(self, model: nn.Module):
        self.model = model.eval().requires_grad_(False)
        check_head(model)

    @torch.no_grad()
    def on(self, inputs: dict[str, Tensor], predicts: Tensor) -> HeadedHidden:
        hidden = final_hidden(self.model, self.model, inputs)
        return HeadedHidden(hidden[predicts], head_of(self.model))
