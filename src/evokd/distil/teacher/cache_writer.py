"""Shards of a cache, written so that a kill at any moment leaves one that can be gone on with."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from evokd.distil.teacher.cache_reader import (
    FORMAT,
    HEAD,
    INDEX,
    KEY_BYTES,
    PAIR_COLUMNS,
    CacheReader,
    CacheSpec,
    check_identity,
    checksum,
    read_index,
)
from evokd.rundir import write_json

SHARD_BYTES = 256 * 2**20
SHARD_SECONDS = 120.0
"""A shard is closed after so long at the latest: this is what a killed writer loses."""


class CacheWriter:
    """Adds pairs to a cache, shard by shard; goes on where another one stopped.

    One writer at a time. Pairs are on disk for good once `flush` has been called, which `add` does
    by itself whenever a shard is full or old.

    Raises:
        InputError: the folder holds a cache of something else, or a damaged one.
    """

    def __init__(self, folder: Path, spec: CacheSpec, identity: dict[str, str]):
        self.folder, self.spec = folder, spec
        folder.mkdir(parents=True, exist_ok=True)
        for draft in folder.glob(".*.draft"):
            draft.unlink()
        if not (folder / INDEX).exists():
            tree = {"format": FORMAT, "contents": asdict(spec), "identity": identity}
            write_json(folder / INDEX, {**tree, "shards": []})
        reader = CacheReader(folder)
        check_identity(reader.index, spec, identity, folder)
        self.index = reader.index
        self.known = {key.tobytes() for key in reader.keys}
        self._start_shard()

    def _start_shard(self) -> None:
        self._pairs: list[tuple[bytes, dict[str, Tensor]]] = []
        self._tokens = 0
        self._began = time.monotonic()

    def add(self, key: bytes, rows: dict[str, Tensor]) -> None:
        """One pair, unless it is there; each tensor (tokens, columns) on the CPU."""
        if key in self.known:
            return
        self.known.add(key)
        self._pairs.append((key, rows))
        self._tokens += len(next(iter(rows.values())))
        full = self._tokens * self.spec.bytes_per_token() >= SHARD_BYTES
        if full or time.monotonic() - self._began >= SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what has come together as a shard."""
        if not self._pairs:
            return
        tensors = {
            name: torch.cat([rows[name] for _, rows in self._pairs]).to(dtype)
            for name, (_, dtype) in self.spec.rows().items()
        }
        keys = b"".join(key for key, _ in self._pairs)
        counts = [len(next(iter(rows.values()))) for _, rows in self._pairs]
        starts = np.cumsum([0, *counts])
        checks = [
            checksum({name: tensor[a:b] for name, tensor in tensors.items()})
            for a, b in pairwise(starts)
        ]
        pair_columns = {
            "keys": torch.frombuffer(bytearray(keys), dtype=torch.uint8).view(-1, KEY_BYTES),
            "starts": torch.from_numpy(starts.astype(np.int64)),
            "checks": torch.tensor(checks, dtype=torch.int64).to(torch.uint32),
        }
        name = f"shard-{self._next_number():05d}.safetensors"
        entry = {
            "name": name,
            "bytes": save_tensors({**pair_columns, **tensors}, self.folder / name),
            "pairs": len(counts),
            "tokens": self._tokens,
            "index": checksum(pair_columns, PAIR_COLUMNS),
        }
        self.index["shards"].append(entry)
        write_json(self.folder / INDEX, self.index)
        self._start_shard()

    def keep_head(self, tensors: dict[str, Tensor], scale: float, cap: float | None) -> None:
        """The teacher's head beside its hidden states, once."""
        if "head" in self.index:
            return
        facts = {"scale": repr(scale), "cap": repr(cap)}
        size = save_tensors(tensors, self.folder / HEAD, facts)
        self.index["head"] = {"name": HEAD, "bytes": size, "check": checksum(tensors)}
        write_json(self.folder / INDEX, self.index)

    def _next_number(self) -> int:
        numbers = [int(shard["name"][6:11]) for shard in self.index["shards"]]
        return max(numbers, default=-1) + 1


def drop_files(folder: Path, names: Sequence[str]) -> None:
    """Take files out of a cache, so that a writer makes them again."""
    index = read_index(folder)
    index["shards"] = [entry for entry in index["shards"] if entry["name"] not in names]
    if HEAD in names:
        index.pop("head", None)
    write_json(folder / INDEX, index)
    for name in names:
        (folder / name).unlink(missing_ok=True)


def save_tensors(
    tensors: dict[str, Tensor], path: Path, facts: dict[str, str] | None = None
) -> int:
    """A safetensors file, whole or not at all, and on disk; returns its size."""
    draft = path.with_name(f".{path.name}.draft")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, draft, facts)
    if (path.parent / INDEX).exists():  # safetensors keeps files to their owner
        shutil.copymode(path.parent / INDEX, draft)
    _sync(draft)
    draft.replace(path)
    _sync(path.parent)
    return path.stat().st_size


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
