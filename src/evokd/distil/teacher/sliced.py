"""A teacher that speaks of some of its tokens only, under its student's ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from evokd.distil.teacher.signal import LazyLogits, TeacherSignal
from evokd.errors import InputError
from evokd.models.lm_head import Head


@dataclass(frozen=True)
class RemappedDataset:
    """A data set under the teacher's ids; labels say only where a response is."""

    data: Any
    kept: list[int]
    """The teacher's id of each token."""

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, number: int) -> dict[str, list[int]]:
        example = self.data[number]
        ids = [self.kept[i] for i in example["input_ids"]]
        return {"input_ids": ids, "labels": list(example["labels"])}


class SlicedTeacher:
    """A `TeacherSignal` for a student with a smaller vocabulary (`models.vocabulary_pruning`).

    Batches come in the student's ids, are read by the teacher in its own, and logits are made of
    the kept entries only. An objective's softmax then gives the teacher's distribution given that
    the token is one of those that are kept.

    Args:
        signal: a live teacher, or a cache of hidden states of the same pairs under its own ids.
        kept: the teacher's id of each token of the student, (V,).

    Raises:
        InputError: `forward`: the teacher gives log-probabilities of its top_k tokens, without a
            head.
    """

    def __init__(self, signal: TeacherSignal, kept: Sequence[int]):
        self.signal = signal
        self.kept = torch.as_tensor(kept, dtype=torch.long)
        if not len(self.kept) or not ((self.kept >= 0) & (self.kept < signal.width)).all():
            raise ValueError(f"ids of the teacher's {signal.width} tokens are accepted")
        self._heads: tuple[Head, Head] | None = None

    @property
    def width(self) -> int:
        return len(self.kept)

    @property
    def model(self) -> nn.Module | None:
        return self.signal.model

    def forward(self, inputs: dict[str, Tensor], predicts: Tensor) -> LazyLogits:
        ids = inputs["input_ids"]
        self.kept = self.kept.to(ids.device)
        whole = self.signal.forward({**inputs, "input_ids": self.kept[ids]}, predicts)
        if not isinstance(whole, LazyLogits):
            raise InputError(
                "teacher.signal=topk doesn't go with student.cut.vocabulary=corpus; "
                "type teacher.signal=live or teacher.signal=hidden"
            )
        return LazyLogits(whole.hidden, self._sliced(whole.head))

    def check_holds(self, data: Any) -> None:
        """See that a cached teacher has every pair of a data set under the student's ids.

        Raises:
            InputError: it hasn't.
        """
        self.signal.check_holds(RemappedDataset(data, self.kept.tolist()))

    def _sliced(self, head: Head) -> Head:
        """The kept rows of a head, copied once as long as it stays the same."""
        if self._heads is None or self._heads[0].weight is not head.weight:
            rows = self.kept.to(head.weight.device)
            self._heads = head, head.map(lambda tensor: tensor.detach()[rows])
        return self._heads[1]
