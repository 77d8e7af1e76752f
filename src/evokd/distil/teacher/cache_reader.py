"""What a teacher gives, on disk: shards of safetensors and an index of them.

    cache.json                 what is stored, of which teacher, and the shards that are whole
    head.safetensors           the teacher's head (hidden states only)
    shard-00000.safetensors    keys, starts, checks, and the rows of the tokens

A shard holds some pairs. Pair i has the rows starts[i]:starts[i + 1], one for each response token;
its key is a hash of its ids, so it is found whatever the order, the batch or the epoch. A shard is
written under another name, synced and renamed before the index names it: what is in the
index is whole. Reading maps the shards into memory, which any number of processes can share.
"""

from __future__ import annotations

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
from evokd.models.lm_head import Head
from evokd.rundir.files import read_json, write_json

FORMAT = 1
INDEX = "cache.json"
HEAD = "head.safetensors"
KEY_BYTES = 16
PAIR_BYTES = KEY_BYTES + 8 + 4
"""Per pair: key, start, check."""
PAIR_COLUMNS = ("keys", "starts", "checks")
_KEY = f"S{KEY_BYTES}"
"""Keys as numpy sorts them."""
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

    def facts(self) -> dict[str, Any]:
        """Under names that a user understands."""
        return {
            "teacher.signal": self.kind,
            "the teacher's vocabulary size": self.vocabulary,
            "teacher.top_k" if self.kind == "topk" else "the teacher's hidden size": self.columns,
            "the number format": self.dtype,
        }


class CacheIndex:
    """What a cache says of itself.

    Raises:
        InputError: there is none, or one that this version doesn't know.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.tree = _read_index(folder)
        self.spec = CacheSpec(**self.tree["contents"])

    def save(self) -> None:
        write_json(self.folder / INDEX, self.tree)

    def changes(self, spec: CacheSpec, identity: dict[str, str]) -> list[str]:
        """Which parts of what it was made of aren't these."""
        then = {**self.tree["identity"], **self.spec.facts()}
        now = {**identity, **spec.facts()}
        return [name for name in {**now, **then} if now.get(name) != then.get(name)]

    def check(self, spec: CacheSpec, identity: dict[str, str]) -> None:
        """Refuse a cache of another teacher, tokenizer or prompt, or of something else of it."""
        changes = self.changes(spec, identity)
        if changes:
            raise InputError(
                f"the cache in {self.folder} is stale: since it was written, "
                f"{' and '.join(changes)} changed; type "
                "`evokd cache RECIPE -o DIR`, or go back to what it was written with"
            )

    def read_head(self) -> Head:
        """The teacher's head, stored beside its hidden states."""
        path, entry = self.folder / HEAD, self.tree.get("head", {"bytes": 0})
        tensors, facts = _read_tensors(path, entry["bytes"])
        if checksum(bytes_of(tensors[name]) for name in sorted(tensors)) != entry["check"]:
            raise _changed(path)
        cap = None if facts["cap"] == "None" else float(facts["cap"])
        return Head(tensors["weight"], tensors.get("bias"), float(facts["scale"]), cap)

    def damaged_files(self, thorough: bool = False) -> dict[str, str]:
        """Name → what is wrong with it, of the files that it names.

        Args:
            thorough: read every byte of them; otherwise sizes and indices.
        """
        damaged = {}
        for entry in self.tree["shards"]:
            try:
                shard = Shard(self.folder, entry, self.spec)
                for place in range(len(shard.keys) if thorough else 0):
                    shard.pair(place)
            except InputError as error:
                damaged[entry["name"]] = str(error).split("; ")[0]
        if "head" in self.tree:
            try:
                self.read_head()
            except InputError as error:
                damaged[HEAD] = str(error).split("; ")[0]
        return damaged

    def drop_files(self, names: Iterable[str]) -> None:
        """Take files out of the cache, so that a writer makes them again."""
        self.tree["shards"] = [one for one in self.tree["shards"] if one["name"] not in names]
        if HEAD in names:
            self.tree.pop("head", None)
        self.save()
        for name in names:
            (self.folder / name).unlink(missing_ok=True)


class CacheReader:
    """The whole shards of a cache, mapped into memory and indexed by key.

    Raises:
        InputError: no cache there, one of another format, a shard missing, cut off or changed. A
            pair's rows are checked when they are first read.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.index = CacheIndex(folder)
        self.spec = self.index.spec
        self.shards = [Shard(folder, entry, self.spec) for entry in self.index.tree["shards"]]
        empty = np.zeros((0, KEY_BYTES), np.uint8)
        self.keys = np.concatenate([empty, *(shard.keys for shard in self.shards)])
        self._ends = np.cumsum([0, *(len(shard.keys) for shard in self.shards)])
        keys = self.keys.view(_KEY).ravel()
        order = np.argsort(keys)
        # A last place for what comes after all others.
        self._sorted, self._numbers = np.append(keys[order], b""), np.append(order, -1)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def tokens(self) -> int:
        return sum(int(shard.starts[-1]) for shard in self.shards)

    def find(self, keys: Sequence[bytes]) -> np.ndarray:
        """(n,), the number of each pair in this cache, −1 where it isn't there."""
        sought = np.frombuffer(b"".join(keys), _KEY)
        places = np.searchsorted(self._sorted[:-1], sought)
        return np.where(self._sorted[places] == sought, self._numbers[places], -1)

    def read(self, numbers: np.ndarray) -> dict[str, Tensor]:
        """Rows of the response tokens of some pairs, in their order, as copies."""
        shards = np.searchsorted(self._ends, numbers, side="right") - 1
        places = numbers - self._ends[shards]
        parts = [
            self.shards[shard].pair(place)
            for shard, place in zip(shards.tolist(), places.tolist(), strict=True)
        ]
        rows = {}
        for name, (columns, dtype) in self.spec.rows().items():
            empty = np.empty((0, columns * dtype.itemsize), np.uint8)
            joined = np.concatenate([empty, *(part[name] for part in parts)]).ravel()
            rows[name] = torch.from_numpy(joined).view(dtype).view(-1, columns)
        return rows


class Shard:
    """One file of a cache, mapped into memory."""

    def __init__(self, folder: Path, entry: dict[str, Any], spec: CacheSpec):
        self.path = folder / entry["name"]
        tensors, _ = _read_tensors(self.path, entry["bytes"])
        stored = {n: (*t.shape[1:], t.dtype) for n, t in tensors.items() if n not in PAIR_COLUMNS}
        if stored != spec.rows() or not set(PAIR_COLUMNS) <= set(tensors):
            raise _changed(self.path)
        if checksum(bytes_of(tensors[name]) for name in PAIR_COLUMNS) != entry["index"]:
            raise _changed(self.path)
        self.keys, self.starts, self.checks = (tensors.pop(name).numpy() for name in PAIR_COLUMNS)
        self.rows = {name: bytes_of(tensors[name]) for name in sorted(tensors)}
        self._checked = np.zeros(len(self.keys), bool)

    def pair(self, place: int) -> dict[str, np.ndarray]:
        """The bytes of a pair's rows, each (tokens, bytes)."""
        start, end = self.starts[place], self.starts[place + 1]
        rows = {name: one[start:end] for name, one in self.rows.items()}
        if not self._checked[place]:
            if checksum(rows.values()) != self.checks[place]:
                raise _changed(self.path)
            self._checked[place] = True
        return rows


def checksum(arrays: Iterable[np.ndarray]) -> int:
    """CRC-32 of the bytes of arrays, one after the other."""
    check = 0
    for array in arrays:
        check = zlib.crc32(array.data, check)
    return check


def bytes_of(tensor: Tensor) -> np.ndarray:
    """Its memory: numpy has no bfloat16, and its slices cost a tenth of torch's."""
    return tensor.contiguous().view(torch.uint8).numpy()


def _read_index(folder: Path) -> dict[str, Any]:
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
    return tree


def _read_tensors(path: Path, size: int) -> tuple[dict[str, Tensor], Any]:
    """Of a file that should have `size` bytes, mapped: nothing is read yet; and its metadata."""
    if not path.exists():
        raise InputError(f"{path} of the cache isn't there; {_AGAIN}")
    actual = path.stat().st_size
    if actual != size:
        raise InputError(
            f"{path} has {actual} bytes instead of {size}, so it was cut off or overwritten; "
            f"{_AGAIN}"
        )
    try:
        with safe_open(path, "pt") as file:
            return {n: file.get_tensor(n) for n in file.keys()}, file.metadata()  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path} can't be read ({error}); {_AGAIN}") from None


def _changed(path: Path) -> InputError:
    return InputError(
        f"{path} isn't what was written (its checksum differs), so the disk or a copy has damaged "
        f"it; {_AGAIN}"
    )
