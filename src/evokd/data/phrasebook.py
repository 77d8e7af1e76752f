"""The embedded corpus: English, German and Czech sentences of a phrasebook.

Its file is drawn from a grammar by `tools/phrasebook`, so that every command can be tried at once.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from evokd.data.textfiles import read_text
from evokd.errors import InputError

LANGUAGES = ("en", "de", "cs")
FILE = Path(__file__).with_name("phrasebook.tsv.xz")
"""A sentence a line: its split, and its text in each of LANGUAGES."""


def phrasebook(split: str, size: int | None = None) -> list[dict[str, str]]:
    """The first `size` sentences of a split (all by default), each by language.

    Args:
        split: train (20,000 sentences), valid (500) or test (1,000).

    Raises:
        InputError: more than there are.
    """
    sentences = _splits()[split]
    if size is not None and size > len(sentences):
        raise InputError(
            f"phrasebook:{split}:{size} asks for more than the {len(sentences)} sentences there "
            "are; ask for fewer"
        )
    return sentences[:size]


@cache
def _splits() -> dict[str, list[dict[str, str]]]:
    splits: dict[str, list[dict[str, str]]] = {"train": [], "valid": [], "test": []}
    for line in read_text(FILE).splitlines():
        split, *texts = line.split("\t")
        splits[split].append(dict(zip(LANGUAGES, texts, strict=True)))
    return splits
