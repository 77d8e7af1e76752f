"""What a teacher translated, some sentences a file: a killed run goes on behind the last one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from evokd.data.hypotheses import Candidate
from evokd.data.textfiles import read_lines
from evokd.errors import InputError
from evokd.rundir.files import write_lines

Sentence = tuple[str, str]
"""Direction and source."""
Hypotheses = dict[Sentence, list[Candidate]]
"""The translations of each sentence, the teacher's favourite first."""


def write_shard(path: Path, best: Hypotheses) -> None:
    """Sentences and their translations, one a line."""
    records = (
        {"direction": direction, "source": source, "hypotheses": [asdict(one) for one in each]}
        for (direction, source), each in best.items()
    )
    write_lines(path, (json.dumps(record, ensure_ascii=False) for record in records))


def read_shards(folder: Path, damaged: Callable[[Path], None]) -> Hypotheses:
    """What is there already. A damaged shard is told of, and removed."""
    hypotheses: Hypotheses = {}
    for path in folder.glob(".*.draft"):
        path.unlink()
    for path in sorted(folder.glob("*.jsonl")):
        try:
            hypotheses |= {
                (record["direction"], record["source"]): [
                    Candidate(**one) for one in record["hypotheses"]
                ]
                for record in map(json.loads, read_lines(path))
            }
        except (InputError, ValueError, KeyError, TypeError):
            damaged(path)
            path.unlink()
    return hypotheses


def split(missing: Sequence[Sentence], size: int) -> Iterator[list[Sentence]]:
    """Neighbours of one direction, a shard at a time."""
    for _, group in groupby(missing, key=lambda sentence: sentence[0]):
        sentences = list(group)
        for start in range(0, len(sentences), size):
            yield sentences[start : start + size]
