"""A study's text in its run folder: what the later stages read instead of the user's files."""

from __future__ import annotations

from pathlib import Path

from evokd.data.corpus import Corpus
from evokd.data.pairs import read_pairs, write_pairs
from evokd.rundir import read_json, write_json, write_lines

UNPAIRED = "unpaired.jsonl"


def save_corpus(corpus: Corpus, folder: Path) -> None:
    """train.jsonl, valid.jsonl, test/*.jsonl with plain .src and .ref beside, cleaning.json; and
    unpaired.jsonl, if there is such text."""
    write_pairs(folder / "train.jsonl", corpus.train)
    write_pairs(folder / "valid.jsonl", corpus.valid)
    if corpus.unpaired:
        write_pairs(folder / UNPAIRED, corpus.unpaired)
    for (name, direction), pairs in corpus.tests.items():
        stem = f"test/{name}.{direction}"
        write_pairs(folder / f"{stem}.jsonl", pairs)
        write_lines(folder / f"{stem}.src", (pair.source for pair in pairs))
        write_lines(folder / f"{stem}.ref", (pair.target for pair in pairs))
    write_json(folder / "tests.json", [list(key) for key in corpus.tests])
    write_json(folder / "cleaning.json", corpus.report)


def load_corpus(folder: Path) -> Corpus:
    """What `save_corpus` wrote."""
    tests = {
        (name, direction): read_pairs(folder / "test" / f"{name}.{direction}.jsonl")
        for name, direction in read_json(folder / "tests.json")
    }
    return Corpus(
        train=read_pairs(folder / "train.jsonl"),
        valid=read_pairs(folder / "valid.jsonl"),
        tests=tests,
        report=read_json(folder / "cleaning.json"),
        unpaired=read_pairs(folder / UNPAIRED) if (folder / UNPAIRED).exists() else [],
    )
