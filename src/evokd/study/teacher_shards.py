"""What a teacher translated, some sentences a file: a killed run goes on behind the last one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from evokd.data.hypotheses import Candidate
from evokd.data.textfiles import read_lines
from evokd.errors import InputError
from evokd.rundir.files import write_lines

SHARD_SENTENCES = 512
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
            path.unlink(missing_ok=True)
    return hypotheses


@dataclass(frozen=True)
class Part:
    """A share of the sentences, for one of several workers."""

    number: int
    """From 1."""
    count: int

    def __str__(self) -> str:
        return f"{self.number}of{self.count}"

    def of(self, sentences: Sequence[Sentence]) -> list[Sentence]:
        """Its shards of all."""
        shards = list(split(sentences))[self.number - 1 :: self.count]
        return [sentence for shard in shards for sentence in shard]


def part_in(name: str, place: str) -> Part | None:
    """What `PLACE/2of4` names of a text's stage; None: another thing."""
    found = re.fullmatch(rf"{re.escape(place)}/([1-9]\d{{0,4}})of([1-9]\d{{0,4}})", name)
    part = None if found is None else Part(int(found[1]), int(found[2]))
    return part if part is not None and part.number <= part.count else None


def next_number(folder: Path, prefix: str) -> int:
    """Of the next shard of those whose names begin so."""
    taken = (path.stem.removeprefix(prefix) for path in folder.glob(f"{prefix}*.jsonl"))
    return max((int(one) + 1 for one in taken if one.isdigit()), default=0)


def split(missing: Sequence[Sentence]) -> Iterator[list[Sentence]]:
    """Neighbours of one direction, a shard at a time."""
    for _, group in groupby(missing, key=lambda sentence: sentence[0]):
        sentences = list(group)
        for start in range(0, len(sentences), SHARD_SENTENCES):
            yield sentences[start : start + SHARD_SENTENCES]
