"""Sentences of a test or validation set that stand in training text.

Two sentences are the same if they differ in nothing but case, punctuation, spaces and Unicode form.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from evokd.data.languages import language
from evokd.data.pairs import Pair
from evokd.data.seen import digest

Sentences = set[bytes]
"""Hashes of language and normalised sentence (`side_key`)."""
HeldOut = dict[str, Sentences]
"""{"valid" or "test NAME": its sentences}"""
NOTHING = bytes(16)
"""In the place of a hash: a sentence without a letter or digit ("…", "?!") proves nothing."""


def held_out_sentences(
    valid: Sequence[Pair], tests: Mapping[tuple[str, str], Sequence[Pair]]
) -> HeldOut:
    """The sentences of each test set, by {(name, direction): pairs}, and of validation text."""
    held_out: HeldOut = {}
    for (name, _), pairs in tests.items():
        held_out.setdefault(f"test {name}", set()).update(sentences_of(pairs))
    if valid:
        held_out["valid"] = sentences_of(valid)
    return held_out


def leaks_of(pair: Pair, held_out: HeldOut) -> list[str]:
    """The held-out sets that have a side of the pair, in whichever direction it stands there."""
    sides = {*side_keys(pair)} - {NOTHING}
    return [name for name, sentences in held_out.items() if not sentences.isdisjoint(sides)]


def sentences_of(pairs: Iterable[Pair]) -> Sentences:
    """Both sides of all pairs."""
    return {side for pair in pairs for side in side_keys(pair)} - {NOTHING}


def side_keys(pair: Pair) -> tuple[bytes, bytes]:
    """What the two sentences of a pair are known by, whatever their direction and punctuation."""
    return (
        _side_key(pair.source, pair.source_language),
        _side_key(pair.target, pair.target_language),
    )


@lru_cache(maxsize=16)  # a sentence is looked at in both directions
def _side_key(text: str, code: str) -> bytes:
    words = normalised(text)
    return digest(language(code).code, words) if words else NOTHING


class _OnlyWords(dict[int, "int | None"]):
    """For str.translate: what isn't punctuation, space or control, looked up once a character."""

    def __missing__(self, code: int) -> int | None:
        kept = None if unicodedata.category(chr(code))[0] in "PZC" else code
        self[code] = kept
        return kept


_ONLY_WORDS = _OnlyWords()


def normalised(text: str) -> str:
    """A sentence without case, punctuation, spaces and Unicode variants."""
    return unicodedata.normalize("NFKC", text).casefold().translate(_ONLY_WORDS)
