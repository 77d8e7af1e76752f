"""What a teacher teacher_logits, on disk: shards of safetensors and a index of them.

    cache.json                 what is stored, of which teacher, and the shards that are whole
    head.safetensors           the teacher's head (hidden states only)
    shard-00000.safetensors    keys, starts, checks, and the rows of the tokens

A shard holds some pairs. Pair i has the rows starts[i]:starts[i + 1], one for each response token;
its key is a hash of its ids, so it is found whatever the order, the batch or the epoch. A shard is
written under another name, synced and renamed before the index names it: what is in the
index is whole. Reading maps the shards into memory, which any number of processes can share.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from evokd.errors import InputError
from evokd.rundir import read_json

FORMAT = 1
INDEX = "cache.json"
HEAD = "head.safetensors"
KEY_BYTES = 16
PAIR_BYTES = KEY_BYTES + 8 + 4
"""Per pair: key, start, check."""
PAIR_COLUMNS = ("keys", "starts", "checks")
_AGAIN = "type `evokd cache RECIPE -o DIR` to compute again what is lost, and nothing else"


@dataclass(frozen=True)
class CacheSpec:
    """What is stored of each response token."""

    kind: Literal["hidden", "topk"]
    vocabulary: int
    """Entries of the teacher's vocabulary, padding included."""
    columns: int
    """Width of the hidden states, or k."""
    dtype: str
    """Of the hidden states, or of the k log-probabilities: float32, bfloat16, float16."""

    def rows(self) -> dict[str, tuple[int, torch.dtype]]:
        """Name → columns and number format of each tensor that has a row per response token."""
        number: torch.dtype = getattr(torch, self.dtype)
        if self.kind == "hidden":
            return {"hidden": (self.columns, number)}
        ids = {"ids": (self.columns, torch.uint16)}
        if self.vocabulary > 2**16:
            ids["ids_high"] = (self.columns, torch.uint8)
        return {
            **ids,
            "values": (self.columns, number),
            "reference": (1, torch.float32),
            "tail": (1, torch.float32),
        }

    def bytes_per_token(self) -> int:
        return sum(columns * dtype.itemsize for columns, dtype in self.rows().values())

    def words(self) -> str:
        if self.kind == "hidden":
            return f"hidden states of {self.columns} {self.dtype} numbers"
        return f"top {self.columns} log-probabilities in {self.dtype}"


def pair_key(ids: np.ndarray, predicts: np.ndarray) -> bytes:
    """128 bits of a pair: its token ids, and which of them predict a response token.

    Args:
        ids: (T,) of prompt and response.
        predicts: (T,) bool, true where position t predicts a response token t + 1; it holds the
            border between prompt and response.
    """
    content = ids.astype("<i4", copy=False).tobytes() + predicts.view(np.uint8).tobytes()
    return hashlib.blake2b(content, digest_size=KEY_BYTES).digest()


class CacheReader:
    """The whole shards of a cache, mapped into memory and indexed by key.

    Raises:
        InputError: no cache there, one of another format, a shard missing, cut off or changed. A
            pair's rows are checked when they are first read.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.index = read_index(folder)
        self.spec = spec_in(self.index)
        self.shards = [Shard(folder, entry, self.spec) for entry in self.index["shards"]]
        empty = np.zeros((0, KEY_BYTES), np.uint8)
        self.keys = np.concatenate([empty, *(shard.keys for shard in self.shards)])
        self._ends = np.cumsum([0, *(len(shard.keys) for shard in self.shards)])
        first_halves = self.keys[:, :8].copy().view("<u8").reshape(-1)
        self._order = np.argsort(first_halves, kind="stable")
        self._first_halves = first_halves[self._order]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def tokens(self) -> int:
        return sum(int(shard.starts[-1]) for shard in self.shards)

    def find(self, keys: Sequence[bytes]) -> np.ndarray:
        """(n,), the number of each pair in this cache, −1 where it isn't there."""
        sought = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)
        halves = sought[:, :8].copy().view("<u8").reshape(-1)
        result = np.full(len(sought), -1, np.int64)
        places = np.searchsorted(self._first_halves, halves)
        while True:  # keys whose first halves agree stand side by side
            here = np.minimum(places, max(0, len(self) - 1))
            alive = np.flatnonzero((result < 0) & (places < len(self)))
            alive = alive[self._first_halves[here[alive]] == halves[alive]]
            if not len(alive):
                return result
            numbers = self._order[places[alive]]
            same = (self.keys[numbers] == sought[alive]).all(1)
            result[alive[same]] = numbers[same]
            places[alive] += 1

    def read(self, numbers: np.ndarray) -> dict[str, Tensor]:
        """Rows of the response tokens of some pairs, in their order, as copies."""
        shards = np.searchsorted(self._ends, numbers, side="right") - 1
        places = numbers - self._ends[shards]
        parts = [
            self.shards[shard].pair(place)
            for shard, place in zip(shards.tolist(), places.tolist(), strict=True)
        ]
        return {
            name: _joined([part[name] for part in parts], columns, dtype)
            for name, (columns, dtype) in self.spec.rows().items()
        }


class Shard:
    """One file of a cache, mapped into memory."""

    def __init__(self, folder: Path, entry: dict[str, Any], spec: CacheSpec):
        self.path = folder / entry["name"]
        _check_size(self.path, entry["bytes"])
        try:
            with safe_open(self.path, "pt") as file:  # maps the file; nothing is read yet
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise InputError(f"{self.path} can't be read ({error}); {_AGAIN}") from None
        stored = {n: (*t.shape[1:], t.dtype) for n, t in tensors.items() if n not in PAIR_COLUMNS}
        if stored != spec.rows() or not set(PAIR_COLUMNS) <= set(tensors):
            raise _changed(self.path)
        if checksum(tensors, PAIR_COLUMNS) != entry["index"]:
            raise _changed(self.path)
        self.keys, self.starts, self.checks = (tensors.pop(name).numpy() for name in PAIR_COLUMNS)
        # As bytes: numpy has no bfloat16, and its slices cost a tenth of torch's.
        self.rows = {name: t.view(torch.uint8).numpy() for name, t in tensors.items()}
        self._checked = np.zeros(len(self.keys), bool)

    def pair(self, place: int) -> dict[str, np.ndarray]:
        """The bytes of a pair's rows, each (tokens, bytes)."""
        start, end = self.starts[place], self.starts[place + 1]
        bytes_of = {name: rows[start:end] for name, rows in self.rows.items()}
        if not self._checked[place]:
            if checksum_of_bytes(bytes_of[name] for name in sorted(bytes_of)) != self.checks[place]:
                raise _changed(self.path)
            self._checked[place] = True
        return bytes_of


def _joined(parts: Sequence[np.ndarray], columns: int, dtype: torch.dtype) -> Tensor:
    if not parts:
        return torch.empty((0, columns), dtype=dtype)
    return torch.from_numpy(np.concatenate(parts)).view(dtype)


def read_index(folder: Path) -> dict[str, Any]:
    """What a cache says of itself.

    Raises:
        InputError: there is none, or one that this version doesn't know.
    """
    path = folder / INDEX
    try:
        tree = read_json(path)
    except FileNotFoundError:
        raise InputError(
            f"{folder} holds no cache ({INDEX} isn't there); "
            "type `evokd cache RECIPE -o DIR` to make one"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} can't be read ({error}); delete {folder}, then {_AGAIN}"
        ) from None
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise InputError(
            f"{path} is of another format than {FORMAT}, the one of this version of evokd; "
            f"delete {folder} and type `evokd cache RECIPE -o DIR`"
        )
    return dict(tree)


def spec_in(index: dict[str, Any]) -> CacheSpec:
    return CacheSpec(**index["contents"])


def what_changed(index: dict[str, Any], spec: CacheSpec, identity: dict[str, str]) -> list[str]:
    """Which parts of what a cache was made of aren't those that are wanted now."""
    then = {**index["identity"], **_in_words(spec_in(index))}
    now = {**identity, **_in_words(spec)}
    return [name for name in {**now, **then} if now.get(name) != then.get(name)]


def check_identity(
    index: dict[str, Any], spec: CacheSpec, identity: dict[str, str], folder: Path
) -> None:
    """Refuse a cache of another teacher, tokenizer or prompt, or of something else of it."""
    changed = what_changed(index, spec, identity)
    if changed:
        raise InputError(
            f"the cache in {folder} is stale: since it was written, {' and '.join(changed)} "
            "changed; delete that folder and type `evokd cache RECIPE -o DIR`, or go back to what it "
            "was written with"
        )


def damaged_shards(folder: Path, thorough: bool = False) -> dict[str, str]:
    """Name → what is wrong with it, of the files that the index names.

    Args:
        thorough: read every byte of them; otherwise sizes and indices.
    """
    index, damaged = read_index(folder), {}
    for entry in index["shards"]:
        try:
            shard = Shard(folder, entry, spec_in(index))
            for place in range(len(shard.keys) if thorough else 0):
                shard.pair(place)
        except InputError as error:
            damaged[entry["name"]] = str(error).split("; ")[0]
    if "head" in index:
        try:
            read_head(folder, index)
        except InputError as error:
            damaged[HEAD] = str(error).split("; ")[0]
    return damaged


def read_head(folder: Path, index: dict[str, Any]) -> tuple[dict[str, Tensor], float, Any]:
    """weight and maybe bias, scale and cap of the head that is stored."""
    path = folder / HEAD
    _check_size(path, index["head"]["bytes"] if "head" in index else 0)
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = file.metadata()
    except SafetensorError as error:
        raise InputError(f"{path} can't be read ({error}); {_AGAIN}") from None
    if checksum(tensors) != index["head"]["check"]:
        raise _changed(path)
    cap = None if facts["cap"] == "None" else float(facts["cap"])
    return tensors, float(facts["scale"]), cap


def _in_words(spec: CacheSpec) -> dict[str, Any]:
    """CacheSpec under names that a user understands."""
    return {
        "teacher.signal": spec.kind,
        "the teacher's vocabulary size": spec.vocabulary,
        "teacher.top_k" if spec.kind == "topk" else "the teacher's hidden size": spec.columns,
        "the number format": spec.dtype,
    }


def checksum(tensors: dict[str, Tensor], names: Sequence[str] | None = None) -> int:
    """CRC-32 of the bytes of tensors on the CPU, one after the other."""
    chosen = sorted(tensors) if names is None else names
    return checksum_of_bytes(
        tensors[name].contiguous().view(torch.uint8).numpy() for name in chosen
    )


def checksum_of_bytes(arrays: Iterable[np.ndarray]) -> int:
    check = 0
    for array in arrays:
        check = zlib.crc32(array.data, check)
    return check


def _check_size(path: Path, size: int) -> None:
    actual = path.stat().st_size if path.exists() else None
    if actual is None:
        raise InputError(f"{path} of the cache isn't there; {_AGAIN}")
    if actual != size:
        raise InputError(
            f"{path} has {actual} bytes instead of {size}, so it was cut off or overwritten; "
            f"{_AGAIN}"
        )


def _changed(path: Path) -> InputError:
    return InputError(
        f"{path} isn't what was written (its checksum differs), so the disk or a copy has damaged "
        f"it; {_AGAIN}"
    )
