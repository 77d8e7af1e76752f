"""The teacher, run once over all that students will learn from, and written down."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from evokd.data.seen import Seen, chunks_of, keys_of
from evokd.distil.teacher.cache_reader import PAIR_BYTES, CacheReader, CacheSpec
from evokd.distil.teacher.cache_writer import CacheWriter, part_of
from evokd.distil.teacher.signal import (
    LazyLogits,
    LiveTeacher,
    PairOfBatch,
    numbered_pairs,
    pairs_of_data,
)
from evokd.errors import InputError
from evokd.models.batching import Budget
from evokd.models.lm_head import head_of
from evokd.progress import bar_of

PUBLISHED = "DistillKit publishes 114–300 for its compressed top-k"
CHUNK = 512
"""Response tokens whose logits stand in memory at once."""


def cache_spec(
    teacher: nn.Module,
    kind: Literal["hidden", "topk"],
    top_k: int = 64,
    values: str = "float16",
) -> CacheSpec:
    """What would be stored of a teacher: hidden states in its own number format, or its top k.

    Args:
        top_k: log-probabilities of each token; the whole vocabulary at most.
        values: their number format; float16 is off by 1/2048 of a logarithm at most, float32 isn't.
    """
    vocabulary, columns = head_of(teacher).weight.shape
    if kind == "hidden":
        dtype = next(teacher.parameters()).dtype
        return CacheSpec(kind, vocabulary, columns, str(dtype).removeprefix("torch."))
    return CacheSpec(kind, vocabulary, min(top_k, vocabulary), values)


def write_cache(
    folder: str | Path,
    teacher: nn.Module,
    data: Sequence[Any],
    spec: CacheSpec,
    identity: dict[str, str] | None = None,
    *,
    batch_tokens: int | None = None,
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Run a teacher over the pairs of some data sets and store what it says of their responses.

    What is there already is kept: after a kill, or with text added since, the same call goes on.

    Args:
        data: data sets of `input_ids` and `labels`; a pair that is there twice is stored once.
        spec: see `cache_spec`.
        identity: name → fingerprint of whatever a reader may insist on: weights, tokenizer, prompt.
        batch_tokens: tokens of a forward pass, padding included; by default 2048 on a CPU, whose
            caches a larger batch runs out of, and 16384 elsewhere.
        log: takes the lines that say how large it will be, and how long it takes.

    Returns:
        pairs, tokens, bytes_per_token and mib of the whole cache, the seconds of this call.

    Raises:
        InputError: the folder holds a cache of something else, a damaged one, or the disk is full.
    """
    began = time.perf_counter()
    writer, missing = _begun(Path(folder), teacher, data, spec, identity or {}, log)
    if len(missing):
        _run(LiveTeacher(teacher), missing, writer, batch_tokens)
    return {**cache_facts(writer.folder), "seconds": round(time.perf_counter() - began, 2)}


def write_shared_cache(
    folder: Path,
    teacher: nn.Module,
    data: Sequence[Any],
    spec: CacheSpec,
    identity: dict[str, str],
    share: Callable[[np.ndarray], Any],
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """The same by several processes, of which this is the first.

    Args:
        share: has all of them `write_part` of these places of pairs.
    """
    began = time.perf_counter()
    _, missing = _begun(folder, teacher, data, spec, identity, log)
    if len(missing):
        share(missing.places)
        CacheWriter(folder, spec, identity)  # takes the parts in
    return {**cache_facts(folder), "seconds": round(time.perf_counter() - began, 2)}


def write_part(
    folder: Path,
    number: int,
    teacher: nn.Module,
    data: Sequence[Any],
    places: np.ndarray,
    *made_of: Any,
) -> None:
    """A process's share of a cache, in a folder of its own until the whole is opened to be written.

    Args:
        number: of the process.
        data: the data sets that `write_cache` was given.
        places: what `write_shared_cache` asks for, or some of it.
        made_of: spec and identity of the whole.
    """
    writer = CacheWriter(part_of(folder, number), *made_of)
    _run(LiveTeacher(teacher), Missing(data, places), writer, None)


def _begun(
    folder: Path,
    teacher: nn.Module,
    data: Sequence[Any],
    spec: CacheSpec,
    identity: dict[str, str],
    log: Callable[[str], None],
) -> tuple[CacheWriter, Missing]:
    """A cache with all but the pairs that it lacks, and room for these."""
    writer = CacheWriter(folder, spec, identity)
    missing, tokens, pairs = _missing(data, writer.known)
    _check_space(writer, len(missing), tokens, pairs, log)
    if spec.kind == "hidden":
        writer.keep_head(head_of(teacher))
    return writer, missing


_MISSING = np.dtype([("data", np.int32), ("number", np.int64), ("length", np.int32)])


@dataclass(frozen=True)
class Missing:
    """Pairs that aren't in a cache yet; their ids are read when they are at work."""

    data: Sequence[Any]
    places: np.ndarray
    """(n,), of each the number of its data set, its own number there, and its tokens."""

    def __len__(self) -> int:
        return len(self.places)

    def read(self, places: np.ndarray) -> list[PairOfBatch]:
        """Some of them."""
        examples = [self.data[data][number] for data, number, _ in places.tolist()]
        return list(pairs_of_data(examples))


def _missing(data: Sequence[Any], known: Seen) -> tuple[Missing, int, int]:
    """What isn't in the cache, its response tokens, and how many different pairs there are at
    all."""
    every, responses, found = Seen(), 0, [np.zeros(0, _MISSING)]
    for number, one in enumerate(data):
        for chunk in chunks_of(numbered_pairs(one)):
            keys = keys_of(pair.key() for _, pair in chunk)
            is_new = every.add(keys) & ~known.has(keys)
            new = [each for each, is_it in zip(chunk, is_new, strict=True) if is_it]
            rows = [(number, place, len(pair.ids)) for place, pair in new]
            found.append(np.array(rows, _MISSING))
            responses += sum(int(pair.predicts.sum()) for _, pair in new)
    return Missing(data, np.concatenate(found)), responses, len(every)


def cache_facts(folder: Path) -> dict[str, Any]:
    """How much a cache holds and, of a top-k one, how much it leaves out."""
    reader = CacheReader(folder)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    facts = {
        "kind": reader.spec.kind,
        "pairs": len(reader),
        "tokens": reader.tokens,
        "bytes_per_token": reader.spec.bytes_per_token(),
        "mib": round(size / 2**20, 2),
    }
    if reader.spec.kind == "topk" and reader.tokens:
        tail = np.concatenate([shard.rows["tail"].view(np.float32) for shard in reader.shards])
        facts |= {
            "k": reader.spec.columns,
            "tail_mass": float(tail.mean(dtype=np.float64)),
            "tail_mass_max": float(tail.max()),
        }
    return facts


def top_k_of(logits: Tensor, labels: Tensor, spec: CacheSpec) -> dict[str, Tensor]:
    """Rows of a top-k cache from whole logits, (n, V) float32 or wider, and reference ids (n,)."""
    log_p = logits.log_softmax(-1)
    values, ids = log_p.topk(spec.columns, dim=-1)
    reference = log_p.gather(1, labels[:, None])
    # Summed up, not one minus the rest, which would be rounding where the tail is thin.
    rest = log_p.exp_().scatter_(1, ids, 0.0).scatter_(1, labels[:, None], 0.0)
    made = {
        "ids": (ids & 0xFFFF).to(torch.int16).view(torch.uint16),  # as GPUs can, too
        "values": values.to(getattr(torch, spec.dtype)),
        "reference": reference.float(),
        "tail": rest.sum(1, keepdim=True).float(),
    }
    if spec.vocabulary > 2**16:
        made["ids_high"] = (ids >> 16).to(torch.uint8)
    return made


def _check_space(
    writer: CacheWriter,
    missing: int,
    tokens: int,
    pairs: int,
    log: Callable[[str], None],
) -> None:
    """See that pairs that are missing, of so many response tokens, fit on the disk."""
    spec, folder = writer.spec, writer.folder
    needed = tokens * spec.bytes_per_token() + missing * PAIR_BYTES
    free = shutil.disk_usage(folder).free
    stored = pairs - missing
    there = f" ({stored} of {pairs} are there already)" if stored else ""
    log(
        f"cache: {missing} pairs with {tokens} response tokens to write{there}, "
        f"{spec.words()}, {spec.bytes_per_token()} bytes a token ({PUBLISHED}): "
        f"{_mib(needed)} on disk, {_mib(free)} free"
    )
    if needed * 1.02 > free:
        raise InputError(
            f"the cache needs {_mib(needed)} and {folder} has {_mib(free)} free; choose another "
            "disk with -o, or store less: teacher.signal=topk and a smaller teacher.top_k "
            f"(16 takes about {_mib(tokens * 16 * 5)})"
        )


def _run(
    live: LiveTeacher, missing: Missing, writer: CacheWriter, batch_tokens: int | None
) -> None:
    device = head_of(live.model).weight.device
    batch_tokens = batch_tokens or (2048 if device.type == "cpu" else 16384)
    # What is too large fails first.
    order = missing.places[np.argsort(-missing.places["length"], kind="stable")]
    sizes = order["length"]
    with closing(bar_of("cache", int(sizes.sum()), "token")) as bar:
        for places in Budget(batch_tokens, batch_tokens).batches(sizes):
            pairs = missing.read(order[places.start : places.stop])
            inputs, predicts = _padded(pairs, device)
            labels = inputs["input_ids"].roll(-1, dims=1)[predicts]
            rows = _rows(live.forward(inputs, predicts), labels, writer.spec)
            counts = predicts.sum(1).tolist()
            columns = (tensor.split(counts) for tensor in rows.values())
            for pair, *parts in zip(pairs, *columns, strict=True):
                writer.add(pair.key(), dict(zip(rows, parts, strict=True)))
            bar.update(sum(len(pair.ids) for pair in pairs))
        writer.flush()


@torch.no_grad()
def _rows(teacher: LazyLogits, labels: Tensor, spec: CacheSpec) -> dict[str, Tensor]:
    """Rows of some response tokens on the CPU."""
    if spec.kind == "hidden":
        return {"hidden": teacher.hidden.to("cpu", getattr(torch, spec.dtype))}
    parts = []
    for start in range(0, len(labels), CHUNK):
        rows = slice(start, start + CHUNK)
        ids = labels[rows]
        # Into float32, as the objective asks a live teacher.
        out = teacher.hidden.new_empty((len(ids), spec.vocabulary), dtype=torch.float32)
        parts.append(top_k_of(teacher.logits(rows, spec.vocabulary, out), ids, spec))
    return {name: torch.cat([part[name].cpu() for part in parts]) for name in parts[0]}


def _padded(pairs: Sequence[PairOfBatch], device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
    """input_ids and attention_mask (B, T), and which positions predict a response token."""

    def padded(rows: Iterable[np.ndarray]) -> Tensor:
        return pad_sequence([torch.from_numpy(row) for row in rows], batch_first=True).to(device)

    ids = padded(pair.ids.astype(np.int64) for pair in pairs)
    mask = padded(np.ones(len(pair.ids), np.int64) for pair in pairs)
    return {"input_ids": ids, "attention_mask": mask}, padded(pair.predicts for pair in pairs)


def _mib(amount: float) -> str:
    return f"{amount / 2**30:.1f} GiB" if amount >= 2**30 else f"{amount / 2**20:.1f} MiB"
