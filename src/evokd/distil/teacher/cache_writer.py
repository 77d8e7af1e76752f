"""Shards of a cache, written so that a kill at any moment leaves one that can be gone on with."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from evokd.data.seen import Seen, keys_of
from evokd.distil.teacher.cache_reader import (
    FORMAT,
    HEAD,
    INDEX,
    KEY_BYTES,
    PAIR_COLUMNS,
    CacheIndex,
    CacheReader,
    CacheSpec,
    bytes_of,
    checksum,
)
from evokd.models.lm_head import Head
from evokd.rundir.files import write_json

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
        _take_in(folder)
        reader = CacheReader(folder)
        self.index = reader.index
        self.index.check(spec, identity)
        self.known = Seen.of(key.tobytes() for key in reader.keys)
        self._start_shard()

    def _start_shard(self) -> None:
        self._pairs: dict[bytes, dict[str, Tensor]] = {}
        self._tokens = 0
        self._began = time.monotonic()

    def add(self, key: bytes, rows: dict[str, Tensor]) -> None:
        """One pair, unless it is there; each tensor (tokens, columns) on the CPU."""
        if key in self._pairs or self.known.has(keys_of([key]))[0]:
            return
        self._pairs[key] = rows
        self._tokens += _length(rows)
        full = self._tokens * self.spec.bytes_per_token() >= SHARD_BYTES
        if full or time.monotonic() - self._began >= SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what has come together as a shard."""
        if not self._pairs:
            return
        tensors = {
            name: torch.cat([rows[name] for rows in self._pairs.values()]).to(dtype)
            for name, (_, dtype) in self.spec.rows().items()
        }
        starts = np.cumsum([0, *map(_length, self._pairs.values())])
        rows_of = [bytes_of(tensors[name]) for name in sorted(tensors)]
        checks = [checksum(rows[a:b] for rows in rows_of) for a, b in pairwise(starts)]
        keys = bytearray(b"".join(self._pairs))
        pair_columns = {
            "keys": torch.frombuffer(keys, dtype=torch.uint8).view(-1, KEY_BYTES),
            "starts": torch.from_numpy(starts.astype(np.int64)),
            "checks": torch.tensor(checks, dtype=torch.int64).to(torch.uint32),
        }
        name = _next_name(self.index)
        entry = {
            "name": name,
            "bytes": _save_tensors({**pair_columns, **tensors}, self.folder / name),
            "pairs": len(self._pairs),
            "tokens": self._tokens,
            "index": checksum(bytes_of(pair_columns[name]) for name in PAIR_COLUMNS),
        }
        self.index.tree["shards"].append(entry)
        self.index.save()
        self.known.add(keys_of(self._pairs))
        self._start_shard()

    def keep_head(self, head: Head) -> None:
        """The teacher's head beside its hidden states, once."""
        if "head" in self.index.tree:
            return
        tensors = {"weight": head.weight.detach().cpu()}
        if head.bias is not None:
            tensors["bias"] = head.bias.detach().cpu()
        facts = {"scale": repr(head.scale), "cap": repr(head.cap)}
        size = _save_tensors(tensors, self.folder / HEAD, facts)
        check = checksum(bytes_of(tensors[name]) for name in sorted(tensors))
        self.index.tree["head"] = {"name": HEAD, "bytes": size, "check": check}
        self.index.save()


def part_of(folder: Path, number: int) -> Path:
    """A cache inside another one, which one of several processes writes and the next `CacheWriter`
    of the whole takes in."""
    return folder / f"part{number}"


def _take_in(folder: Path) -> None:
    """Move shards of parts to the others; after a kill the same call goes on."""
    index = CacheIndex(folder)
    for part in sorted(folder.glob("part*")):
        shards = CacheIndex(part).tree["shards"] if (part / INDEX).exists() else []
        for entry in shards:
            if (part / entry["name"]).exists():
                name = _next_name(index)
                (part / entry["name"]).replace(folder / name)
                index.tree["shards"].append({**entry, "name": name})
                index.save()
        shutil.rmtree(part)


def _next_name(index: CacheIndex) -> str:
    numbers = [int(shard["name"][6:11]) for shard in index.tree["shards"]]
    return f"shard-{max(numbers, default=-1) + 1:05d}.safetensors"


def _length(rows: dict[str, Tensor]) -> int:
    """Tokens of a pair."""
    return len(next(iter(rows.values())))


def _save_tensors(
    tensors: dict[str, Tensor], path: Path, facts: dict[str, str] | None = None
) -> int:
    """A safetensors file, whole or not at all, and on disk; returns its size."""
    draft = path.with_name(f".{path.name}.draft")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, draft, facts)
    shutil.copymode(path.with_name(INDEX), draft)  # safetensors keeps files to their owner
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
