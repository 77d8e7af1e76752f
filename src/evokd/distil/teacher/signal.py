"""Where the teacher's logits come from: one seam, `TeacherSignal`, and three sources.

The objective doesn't know whether the teacher was run a moment ago or read from a file:

    LiveTeacher                     a model beside the student
    CachedTeacher, kind "hidden"    its hidden states from a file and its head; exact
    CachedTeacher, kind "topk"      its k best log-probabilities, the reference token's, the rest
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from evokd.data.seen import chunks_of
from evokd.distil.teacher.cache_reader import KEY_BYTES, CacheReader
from evokd.distil.token_batch import TeacherLogits
from evokd.errors import InputError
from evokd.models.lm_head import Head, check_head, final_hidden, head_of
from evokd.recipe.objectives import IGNORED

_TINY = torch.finfo(torch.float32).tiny


class TeacherSignal(Protocol):
    """A teacher, wherever it is."""

    @property
    def width(self) -> int:
        """Entries of its vocabulary, padding included."""
        ...

    @property
    def model(self) -> nn.Module | None:
        """What reads each batch; None: it was read before, so only text that was seen then will
        do."""
        ...

    def check_holds(self, data: Any) -> None:
        """See before an hour is spent that it can speak of every pair of a data set.

        Raises:
            InputError: it can't.
        """
        ...

    def forward(self, inputs: dict[str, Tensor], predicts: Tensor) -> TeacherLogits:
        """The teacher at the positions of a batch that predict a response token.

        Args:
            inputs: input_ids, and attention_mask of a padded or position_ids of a packed batch,
                each (B, T).
            predicts: (B, T) bool, N of them true; the token after such a position is a target.

        Returns:
            The logits of those N tokens, in row order, a chunk at a time.
        """
        ...


@dataclass(frozen=True)
class LazyLogits:
    """Teacher logits made of hidden states when they are asked for."""

    hidden: Tensor
    """(N, H)"""
    head: Head

    @property
    def dtype(self) -> torch.dtype:
        return self.head.dtype

    @torch.no_grad()
    def logits(self, rows: slice, size: int, out: Tensor | None = None) -> Tensor:
        return self.head.logits(self.hidden[rows], size, out)


@dataclass(frozen=True)
class TopKLogits:
    """A whole distribution made of its k largest entries and one more, when it is asked for.

    The mass of all other entries is known, its shares aren't: it is spread evenly over them.
    """

    ids: Tensor
    """(N, k) int64, the entries that are known, most probable first."""
    values: Tensor
    """(N, k) float32, their log-probabilities."""
    labels: Tensor
    """(N,) int64, the reference tokens."""
    reference: Tensor
    """(N,) float32, their log-probabilities, among the k or not."""
    tail: Tensor
    """(N,) float32, summed probability of all other entries."""
    width: int
    """Entries of the teacher's vocabulary."""

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def cut(self, rows: slice) -> TopKLogits:
        """Some of the tokens."""
        names = ("ids", "values", "labels", "reference", "tail")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    @torch.no_grad()
    def logits(self, rows: slice, size: int, out: Tensor | None = None) -> Tensor:
        """(n, size), log-probabilities, normalised over the first `size` entries."""
        if size > self.width:
            raise ValueError(
                f"{size} vocabulary entries are asked for; the teacher has {self.width}"
            )
        ids, labels, reference = self.ids[rows], self.labels[rows, None], self.reference[rows, None]
        is_label, listed = ids == labels, ids < size
        values = torch.where(is_label, reference, self.values[rows])  # the more precise one
        apart = ~is_label.any(1, keepdim=True)  # the reference isn't among the k
        others = self.width - ids.shape[1] - apart.long()
        each = (self.tail[rows, None].clamp(min=_TINY) / others.clamp(min=1)).log()
        others_kept = size - listed.sum(1, keepdim=True) - apart.long()
        mass = torch.cat(
            [
                values.masked_fill(~listed, -torch.inf),
                reference.masked_fill(~apart, -torch.inf),
                each + others_kept.log(),
            ],
            dim=1,
        ).logsumexp(1, keepdim=True)
        made = values.new_empty((len(ids), size)) if out is None else out
        made[:] = each - mass
        # What is cut off goes where the reference is, and says the same.
        made.scatter_(
            1,
            torch.where(listed, ids, labels),
            (torch.where(listed, values, reference) - mass).to(made.dtype),
        )
        return made.scatter_(1, labels, (reference - mass).to(made.dtype))


class LiveTeacher:
    """A model beside the student, run without gradients for each batch."""

    def __init__(self, model: nn.Module):
        self.model: nn.Module = model.eval().requires_grad_(False)
        check_head(model)

    @property
    def width(self) -> int:
        return int(head_of(self.model).weight.shape[0])

    def check_holds(self, data: Any) -> None:
        """It reads any text."""

    @torch.no_grad()
    def forward(self, inputs: dict[str, Tensor], predicts: Tensor) -> LazyLogits:
        hidden = final_hidden(self.model, self.model, inputs)
        return LazyLogits(hidden[predicts], head_of(self.model))


class CachedTeacher:
    """A teacher from files: `write_cache` ran it once; now it isn't loaded at all.

    Any number of processes may read one cache.

    Args:
        folder: what `write_cache` made.
        identity: what it must have been made of (weights, tokenizer, prompt), as far as known.

    Raises:
        InputError: no cache there, a stale one, or a damaged one; `forward`: a pair that isn't in
            it.
    """

    def __init__(self, folder: str | Path, identity: dict[str, str] | None = None):
        self.reader = CacheReader(Path(folder))
        self.spec = self.reader.spec
        index = self.reader.index
        if identity is not None:
            index.check(self.spec, identity)
        self.head = index.read_head() if self.spec.kind == "hidden" else None

    model = None

    @property
    def width(self) -> int:
        return self.spec.vocabulary

    def forward(self, inputs: dict[str, Tensor], predicts: Tensor) -> TeacherLogits:
        device = predicts.device
        keys = [pair.key() for pair in pairs_of_batch(inputs, predicts)]
        rows = self.reader.read(self._numbers(keys))
        if "ids" in rows:  # 16 bits that a GPU knows
            rows["ids"] = rows["ids"].view(torch.int16)
        rows = {name: one.to(device) for name, one in rows.items()}
        if self.head is not None:
            self.head = self.head.map(lambda tensor: tensor.to(device))
            return LazyLogits(rows["hidden"], self.head)
        ids = rows["ids"].long() & 0xFFFF
        if "ids_high" in rows:
            ids += rows["ids_high"].long() << 16
        return TopKLogits(
            ids,
            rows["values"].float(),
            inputs["input_ids"].roll(-1, dims=1)[predicts],
            rows["reference"][:, 0],
            rows["tail"][:, 0],
            self.spec.vocabulary,
        )

    def check_holds(self, data: Any) -> None:
        for pairs in chunks_of(pairs_of_data(data)):
            self._numbers([pair.key() for pair in pairs])

    def _numbers(self, keys: list[bytes]) -> np.ndarray:
        """Of pairs in the cache."""
        numbers = self.reader.find(keys)
        missing = int((numbers < 0).sum())
        if missing:
            raise InputError(
                f"{missing} of {len(keys)} pairs aren't in the teacher cache {self.reader.folder}, "
                f"which holds {len(self.reader)} pairs. Probable reasons: another tokenizer, "
                "prompt or training.max_length than it was written with, text added since, or it "
                "isn't finished; type `evokd cache RECIPE -o DIR` to add what is missing"
            )
        return numbers


class PairOfBatch(NamedTuple):
    """One sequence without padding."""

    ids: np.ndarray
    """(T,), of prompt and response."""
    predicts: np.ndarray
    """(T,) bool, true where position t predicts a response token t + 1; so it holds the border
    between prompt and response."""

    def key(self) -> bytes:
        """128 bits of it."""
        content = self.ids.astype("<i4", copy=False).tobytes() + self.predicts.tobytes()
        return hashlib.blake2b(content, digest_size=KEY_BYTES).digest()


def pairs_of_batch(inputs: dict[str, Tensor], predicts: Tensor) -> Iterator[PairOfBatch]:
    """The pairs of a padded or packed batch that have a response token, in row order."""
    ids, targets = inputs["input_ids"].cpu().numpy(), predicts.cpu().numpy()
    begins = np.zeros_like(targets)
    begins[:, 0] = True
    if "position_ids" in inputs:
        begins |= inputs["position_ids"].cpu().numpy() == 0
    starts = np.flatnonzero(begins)
    ends = np.append(starts[1:], targets.size)
    # Most sequences of a packed batch may be filler, a token each.
    answered = np.logical_or.reduceat(targets.ravel(), starts)
    real = np.ones_like(targets)
    if "attention_mask" in inputs:
        real = inputs["attention_mask"].cpu().numpy().astype(bool)
    ids, targets, real = ids.astype(np.int32).ravel(), targets.ravel(), real.ravel()
    for start, end in zip(starts[answered].tolist(), ends[answered].tolist(), strict=True):
        mask = real[start:end]
        yield PairOfBatch(ids[start:end][mask], targets[start:end][mask])


def pairs_of_data(data: Iterable[Any]) -> Iterator[PairOfBatch]:
    """The pairs of a data set of input_ids and labels that have a response token, in order."""
    return (pair for _, pair in numbered_pairs(data))


def numbered_pairs(data: Iterable[Any]) -> Iterator[tuple[int, PairOfBatch]]:
    """The same, with their numbers in the data set."""
    for number in range(len(data)):  # type: ignore[arg-type]
        example = data[number]  # type: ignore[index]
        labels = np.asarray(example["labels"])
        predicts = np.append(labels[1:] != IGNORED, False)
        if predicts.any():
            yield number, PairOfBatch(np.asarray(example["input_ids"], np.int32), predicts)


def shared_width(student: nn.Module, teacher: Any) -> int:
    """Vocabulary entries of the student; a live teacher must have as many.

    Raises:
        ValueError: it has another number of them.
    """
    size: int = head_of(student).weight.shape[0]
    if isinstance(teacher, nn.Module):
        other = head_of(teacher).weight.shape[0]
        if other != size:
            raise ValueError(
                f"the student's vocabulary has {size} entries, the teacher's {other}; "
                "compare the tokenizers and pass vocabulary_size, the number they share"
            )
    return size
