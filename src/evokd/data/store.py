"""A study's text in its run folder: what the later stages read instead of the user's files."""

from __future__ import annotations

from pathlib import Path

from evokd.data.corpus import Corpus, read_pairs, write_pairs
from evokd.rundir import read_json, write_json, write_text

UNPAIRED = "unpaired.jsonl"


def save_corpus(corpus: Corpus, folder: Path) -> None:
    """train.jsonl, valid.jsonl, test/*.jsonl with plain .src and .ref beside, cleaning.json; and
    unpaired.jsonl, if there is such text."""
    (folder / "test").mkdir(parents=True, exist_ok=True)
    write_pairs(folder / "train.jsonl", corpus.train)
    write_pairs(folder / "valid.jsonl", corpus.valid)
    if corpus.unpaired:
        write_pairs(folder / UNPAIRED, corpus.unpaired)
    for (name, direction), pairs in corpus.tests.items():
        stem = folder / "test" / f"{name}.{direction}"
        write_pairs(stem.with_name(stem.name + ".jsonl"), pairs)
        for suffix, lines in (
            (".src", [pair.source for pair in pairs]),
            (".ref", [pair.target for pair in pairs]),
        ):
            write_text(stem.with_name(stem.name + suffix), "".join(f"{line}\n" for line in lines))
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
