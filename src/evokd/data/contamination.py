"""Sentences of a test or validation set that stand in training text.

Two sentences are the same if they differ in nothing but case, punctuation, spaces and Unicode form.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from evokd.data.cleaning import CleaningReport
from evokd.data.languages import language
from evokd.data.pairs import Pair

Sentences = set[tuple[str, str]]
"""{(language, normalised sentence)}"""
HeldOut = dict[str, Sentences]
"""{"valid" or "test NAME": its sentences}"""


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
    sides = _sides(pair)
    return [name for name, sentences in held_out.items() if not sentences.isdisjoint(sides)]


def without_leaks(
    pairs: Iterable[Pair], held_out: HeldOut, report: CleaningReport, drop: bool
) -> tuple[list[Pair], dict[str, int]]:
    """Drop (or only count) pairs of which a side is held out; and how many share one by set."""
    leaks = dict.fromkeys(held_out, 0)
    kept = []
    for pair in pairs:
        sets = leaks_of(pair, held_out)
        for name in sets:
            leaks[name] += 1
        if sets and drop:
            report.drop("valid_leak" if sets == ["valid"] else "test_leak", pair)
        else:
            kept.append(pair)
    return kept, leaks


def sentences_of(pairs: Iterable[Pair]) -> Sentences:
    """Both sides of all pairs."""
    return {side for pair in pairs for side in _sides(pair)}


def _sides(pair: Pair) -> list[tuple[str, str]]:
    sides = [
        (language(pair.source_language).code, normalised(pair.source)),
        (language(pair.target_language).code, normalised(pair.target)),
    ]
    # A sentence without a letter or digit ("…", "?!") proves nothing.
    return [side for side in sides if side[1]]


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
