"""The embedded corpus: English, German and Czech sentences of a phrasebook.

Its file is drawn from a grammar by `tools/phrasebook`, so that every command can be tried at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from evokd.data.source_request import SourceRequest, Unit, match_languages
from evokd.data.textfiles import read_lines
from evokd.errors import InputError

LANGUAGES = ("en", "de", "cs")
FILE = Path(__file__).with_name("phrasebook.tsv.xz")
"""A sentence a line: its split, and its text in each of LANGUAGES."""
_ADDRESS = re.compile(r"(?:phrasebook:)?(train|valid|test)(?::(\d+))?")


def read_phrasebook(request: SourceRequest, notes: list[str]) -> Iterator[Unit]:
    """A split of the embedded corpus: `phrasebook:train`, or `phrasebook:train:5000` for a size.

    Raises:
        InputError: no such split, or more than it holds.
    """
    match = _ADDRESS.fullmatch(request.name)
    if match is None:
        raise InputError(
            f"{request.name!r} is no part of the phrasebook; phrasebook:train, phrasebook:valid "
            "and phrasebook:test are accepted, with a size if you like: phrasebook:train:5000"
        )
    spellings = match_languages(request.languages, LANGUAGES)
    missing = [code for code in request.languages if code not in spellings]
    if missing and request.explicit:
        raise InputError(f"{request.name} has en, de and cs, not {', '.join(missing)}")
    sentences = phrasebook(match[1], int(match[2]) if match[2] else None)
    for number, sentence in enumerate(sentences, start=1):
        texts = {code: sentence[spelling] for code, spelling in spellings.items()}
        yield Unit(texts, f"phrasebook:{match[1]}#{number}")


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
    for line in read_lines(FILE):
        split, *texts = line.split("\t")
        splits[split].append(dict(zip(LANGUAGES, texts, strict=True)))
    return splits
