"""Training sequences as token ids: one flat array, in memory or in a file that is mapped into it.

A file holds what numpy would: ids one after the other, 2 bytes each where the vocabulary allows it,
and beside them the lengths. Any number of processes may read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from evokd.recipe.objectives import IGNORED
from evokd.rundir.files import read_json, write_json

IDS, LENGTHS, FACTS = "ids.bin", "lengths.npy", "encoded.json"


class EncodedPairs(Dataset):
    """Training sequences as {"input_ids", "labels"}.

    Attributes:
        lengths: (n,) int32, tokens of each sequence.
        response_tokens: (n,) int32, targets of each sequence, the end token among them.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], prompt_lengths: Sequence[int]):
        lengths = np.fromiter(map(len, sequences), np.int32, len(sequences))
        ids = np.fromiter(chain.from_iterable(sequences), np.int32, int(lengths.sum()))
        self._set(ids, lengths, lengths - np.asarray(prompt_lengths, np.int32))

    def _set(self, ids: np.ndarray, lengths: np.ndarray, response_tokens: np.ndarray) -> None:
        self.lengths, self.response_tokens, self._ids = lengths, response_tokens, ids
        self._ends = np.cumsum(lengths, dtype=np.int64)
        self._folder: Path | None = None

    @classmethod
    def of_arrays(
        cls, ids: np.ndarray, lengths: np.ndarray, response_tokens: np.ndarray
    ) -> EncodedPairs:
        """Ids one after the other, and the lengths of sequences and of their responses."""
        made = cls.__new__(cls)
        made._set(ids, lengths, response_tokens)
        return made

    @classmethod
    def in_folder(cls, folder: Path) -> EncodedPairs:
        """What an `EncodedWriter` wrote; ids are read when they are asked for."""
        lengths = np.load(folder / LENGTHS)
        ids = np.zeros(0, np.int32)
        if len(lengths):
            ids = np.memmap(folder / IDS, read_json(folder / FACTS)["dtype"], "r")
        made = cls.of_arrays(ids, lengths[:, 0], lengths[:, 1])
        made._folder = folder
        return made

    def __reduce__(self) -> Any:
        """In another process, files are mapped, too."""
        if self._folder is not None:
            return EncodedPairs.in_folder, (self._folder,)
        return EncodedPairs.of_arrays, (self._ids, self.lengths, self.response_tokens)

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

    def add(self, sequences: Sequence[Sequence[int]], prompt_lengths: Iterable[int]) -> None:
        """Some sequences, and how long the prompt of each is."""
        lengths = np.fromiter(map(len, sequences), np.int32, len(sequences))
        before = np.fromiter(prompt_lengths, np.int32, len(sequences))
        ids = np.fromiter(chain.from_iterable(sequences), self._dtype, int(lengths.sum()))
        self._lengths.append(np.stack([lengths, lengths - before], axis=1))
        if self._file is None:
            self._ids.append(ids)
        else:
            self._file.write(ids.tobytes())

    def finish(self) -> EncodedPairs:
        """All that was added."""
        lengths = np.concatenate([np.zeros((0, 2), np.int32), *self._lengths])
        if self._folder is None:
            ids = np.concatenate([np.zeros(0, self._dtype), *self._ids])
            return EncodedPairs.of_arrays(ids, lengths[:, 0], lengths[:, 1])
        self._file.close()
        np.save(self._folder / LENGTHS, lengths)
        write_json(self._folder / FACTS, {"dtype": self._dtype.str})
        return EncodedPairs.in_folder(self._folder)
