"""Training sequences as token ids: one flat array, in memory or in a file that is mapped into it.

A file holds what numpy would: ids one after the other, 2 bytes each where the vocabulary allows it,
and beside them the lengths. Any number of processes may read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from evokd.data.pairs import Pair
from evokd.data.prompts import Prompt
from evokd.models.encoding import (
    RenderedPrompt,
    ids_around,
    prompt_ids,
    rendered_prompt,
    token_ids,
)
from evokd.recipe.objectives import IGNORED
from evokd.rundir.files import read_json, write_json

_CHUNK = 512
"""Pairs at a time: few, so that what one makes of them is still at hand for the next."""
_MEGA_BATCH = 50
IDS, LENGTHS, FACTS = "ids.bin", "lengths.npy", "encoded.json"


class EncodedPairs(Dataset):
    """Training sequences as {"input_ids", "labels"}.

    Attributes:
        lengths: (n,) int32, tokens of each sequence.
        response_tokens: (n,) int32, targets of each sequence, the end token among them.
    """

    def __init__(self, ids: np.ndarray, lengths: np.ndarray, response_tokens: np.ndarray):
        """
        Args:
            ids: (sum of lengths,), one sequence after the other.
        """
        self.lengths, self.response_tokens, self._ids = lengths, response_tokens, ids
        self._ends = np.cumsum(lengths, dtype=np.int64)
        self._folder: Path | None = None

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]], prompt_lengths: Sequence[int]) -> EncodedPairs:
        """Those of some lists of token ids."""
        lengths = np.fromiter(map(len, sequences), np.int32, len(sequences))
        ids = np.fromiter(chain.from_iterable(sequences), np.int32, int(lengths.sum()))
        return cls(ids, lengths, lengths - np.asarray(prompt_lengths, np.int32))

    @classmethod
    def in_folder(cls, folder: Path) -> EncodedPairs:
        """What an `EncodedWriter` wrote; ids are read when they are asked for."""
        lengths = np.load(folder / LENGTHS)
        ids = np.zeros(0, np.int32)
        if len(lengths):
            ids = np.memmap(folder / IDS, read_json(folder / FACTS)["dtype"], "r")
        made = cls(ids, lengths[:, 0], lengths[:, 1])
        made._folder = folder
        return made

    def __reduce__(self) -> Any:
        """In another process, files are mapped, too."""
        if self._folder is not None:
            return EncodedPairs.in_folder, (self._folder,)
        return EncodedPairs, (self._ids, self.lengths, self.response_tokens)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        end, length = int(self._ends[index]), int(self.lengths[index])
        ids = self._ids[end - length : end].tolist()
        before = length - int(self.response_tokens[index])
        return {"input_ids": ids, "labels": [IGNORED] * before + ids[before:]}


class EncodedWriter:
    """Takes sequences as they are encoded, and keeps them in memory or in the files of a folder.

    Args:
        largest_id: which no id exceeds.
    """

    def __init__(self, largest_id: int, folder: Path | None = None):
        self._dtype = np.dtype("<u2" if largest_id < 1 << 16 else "<i4")
        self._folder = folder
        self._ids: list[np.ndarray] = []
        self._lengths: list[np.ndarray] = []
        self._file: Any = None if folder is None else (folder / IDS).open("wb")

    def add(
        self, parts: Sequence[Sequence[int]], table: np.ndarray, max_length: float = inf
    ) -> int:
        """Some sequences, put together from parts; how many weren't too long.

        Args:
            parts: token ids.
            table: (sequences, n), the parts that each takes, of which the last two are its
                response and the end.
            max_length: of a sequence; longer ones are left out.
        """
        sizes = np.fromiter(map(len, parts), np.int64, len(parts))
        flat = np.fromiter(chain.from_iterable(parts), self._dtype, int(sizes.sum()))
        fits = sizes[table].sum(1) <= max_length
        taken = table[fits].ravel()
        spans = sizes[taken]
        # Where in `flat` each part begins, less where it comes to lie.
        shifts = (np.cumsum(sizes) - sizes)[taken] - (np.cumsum(spans) - spans)
        ids = flat[np.repeat(shifts, spans) + np.arange(spans.sum())]
        spans = spans.reshape(-1, table.shape[1])
        lengths = np.stack([spans.sum(1), spans[:, -2:].sum(1)], axis=1).astype(np.int32)
        self._lengths.append(lengths)
        if self._file is None:
            self._ids.append(ids)
        else:
            self._file.write(ids.tobytes())
        return len(lengths)

    def finish(self) -> EncodedPairs:
        """All that was added."""
        lengths = np.concatenate([np.zeros((0, 2), np.int32), *self._lengths])
        if self._folder is None:
            ids = np.concatenate([np.zeros(0, self._dtype), *self._ids])
            return EncodedPairs(ids, lengths[:, 0], lengths[:, 1])
        self._file.close()
        np.save(self._folder / LENGTHS, lengths)
        write_json(self._folder / FACTS, {"dtype": self._dtype.str})
        return EncodedPairs.in_folder(self._folder)


def encode_corpus(
    pairs: Sequence[Pair],
    tokenizer: Any,
    prompt: Prompt,
    max_length: float = inf,
    folder: Path | None = None,
    show: Callable[[int, int], None] | None = None,
) -> tuple[EncodedPairs, int]:
    """All pairs as training sequences: prompt, response, end token. In order, and how many were too
    long and left out.

    Args:
        max_length: longest prompt + response + end token, in tokens.
        folder: whose files take them, so that memory doesn't grow with the text; default: none.
        show: is told how far it is, (done, total).
    """
    prompts: dict[tuple[str, str], RenderedPrompt] = {}
    arounds: list[Any] = []
    writer, kept, done = EncodedWriter(_largest_id(tokenizer), folder), 0, 0
    rest = iter(pairs)
    while chunk := list(islice(rest, _CHUNK)):
        for codes in dict.fromkeys((p.source_language, p.target_language) for p in chunk):
            if codes not in prompts:
                prompts[codes] = rendered_prompt(tokenizer, prompt, *codes)
                arounds.append(ids_around(tokenizer, prompts[codes]))
        parts, table = _parts(tokenizer, prompts, arounds, chunk)
        kept += writer.add(parts, table, max_length)
        done += len(chunk)
        if show is not None:
            show(done, len(pairs))
    return writer.finish(), done - kept


def _parts(
    tokenizer: Any,
    prompts: Mapping[tuple[str, str], RenderedPrompt],
    arounds: Sequence[tuple[list[int], list[int]] | None],
    pairs: Sequence[Pair],
) -> tuple[list[Sequence[int]], np.ndarray]:
    """What training sequences are put together from, and which parts each pair takes, (pairs, n):
    those before the response, the response, its end.

    Args:
        prompts: by languages.
        arounds: of each of them, `ids_around`.
    """
    number = {codes: place for place, codes in enumerate(prompts)}
    which = np.array([number[p.source_language, p.target_language] for p in pairs])
    own = [prompts[p.source_language, p.target_language] for p in pairs]
    sources = [pair.source for pair in pairs]
    responses = [p.response_prefix + pair.target for p, pair in zip(own, pairs, strict=True)]
    ends = [[p.end_id] for p in prompts.values()]
    known = [around for around in arounds if around is not None]
    if len(known) < len(prompts):
        before = prompt_ids(tokenizer, own, sources)
        answers = token_ids(tokenizer, responses, literal=True)
        places = np.arange(len(pairs))
        columns = [places, len(pairs) + places, 2 * len(pairs) + which]
        return [*before, *answers, *ends], np.stack(columns, 1)
    # A sentence that is a source one way is a response the other way.
    place = {text: n for n, text in enumerate(dict.fromkeys([*sources, *responses]))}
    size, count = len(place), len(prompts)
    columns = [
        size + which,
        np.array([place[text] for text in sources]),
        size + count + which,
        np.array([place[text] for text in responses]),
        size + 2 * count + which,
    ]
    ids = token_ids(tokenizer, list(place), literal=True)
    fronts, behind = zip(*known, strict=True)
    return [*ids, *fronts, *behind, *ends], np.stack(columns, 1)


def _largest_id(tokenizer: Any) -> int:
    return max(len(tokenizer), *tokenizer.get_vocab().values())


def collate(examples: Sequence[dict[str, list[int]]]) -> dict[str, Tensor]:
    """Sequences padded on the right to one batch.

    Returns:
        input_ids, attention_mask and labels, each (examples, longest) int64. Padding is token 0;
        what that means doesn't matter, it is masked in the latter two by its position.
    """
    lengths = np.array([len(example["input_ids"]) for example in examples])
    real = np.arange(lengths.max()) < lengths[:, None]

    def padded(name: str, value: int) -> Tensor:
        values = np.full(real.shape, value, dtype=np.int64)
        values[real] = np.fromiter(chain.from_iterable(e[name] for e in examples), np.int64)
        return torch.from_numpy(values)

    return {
        "input_ids": padded("input_ids", 0),
        "attention_mask": torch.from_numpy(real.astype(np.int64)),
        "labels": padded("labels", IGNORED),
    }


def target_mask(labels: Tensor) -> Tensor:
    """(B, T), where the next token is a target: the state at position t predicts that at t + 1."""
    mask = torch.zeros_like(labels, dtype=torch.bool)
    mask[:, :-1] = labels[:, 1:] != IGNORED
    return mask


class LengthGroupedBatches(Sampler[int]):
    """Indices in an order where each run of `batch_size` holds sequences of like length.

    The order depends on the seed and the epoch alone. `batch_size` is the global one, so that an
    optimizer step sees the same sequences however they are cut into micro-batches.

    Shuffle; cut into mega-batches of 50 batches; sort each by length; cut into batches; shuffle
    these. What is left over when all batches are full comes last.
    """

    def __init__(self, lengths: Sequence[int] | np.ndarray, batch_size: int, seed: int = 0):
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.seed, self.epoch))
        shuffled = random.permutation(len(self.lengths))
        full = len(shuffled) // self.batch_size * self.batch_size
        mega = _MEGA_BATCH * self.batch_size
        for start in range(0, full, mega):
            part = shuffled[start : min(start + mega, full)]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            shuffled[start : start + len(part)] = part
        # Rows in the order in which `permutation` puts a matrix of them.
        for row in random.permutation(full // self.batch_size).tolist():
            yield from shuffled[row * self.batch_size : (row + 1) * self.batch_size].tolist()
        yield from shuffled[full:].tolist()
