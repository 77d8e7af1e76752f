"""Texts cut where sentences end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from evokd.data.documents.pieces import PIECE, Piece, is_tag, known, visible

STRETCH = 10_000
"""Characters that sentences are looked for in at once."""
_CLAUSE = re.compile(r"(?<=[,;:—–])\s+|(?<=[，、；：])\s*")
_SPACE = re.compile(r"\s+")


def cut(
    flat: str,
    pieces: list[Piece],
    language: str,
    fits: Callable[[str], bool],
    is_line: bool = True,
) -> list[str]:
    """Parts that are a flat text when they are joined: a line itself, if its text fits; else
    sentences, and of a sentence that is too long the halves, cut at a clause's end, at a space, or
    anywhere, whichever is there first.
    """

    def is_short(text: str) -> bool:
        return fits(visible(text, pieces).strip())

    if is_line and is_short(flat):
        return [flat]
    sentences = _sentences(flat, pieces, language)
    return [half for sentence in sentences for half in _halves(sentence, is_short)]


def _sentences(flat: str, pieces: list[Piece], language: str) -> list[str]:
    """Sentences with the spaces and the closing tags behind them."""
    shown = PIECE.sub(lambda one: "" if is_tag(one[0], pieces) else one[0], flat)
    found = list(_found_in(shown, language))
    if shown == flat:
        return found
    sentences, start, place = [], 0, 0
    for sentence in found[:-1]:
        left = len(sentence)
        while left:
            left -= not is_tag(flat[place], pieces)
            place += 1
        while is_tag(flat[place], pieces) and known(flat[place], pieces).kind == "close":
            place += 1
        sentences.append(flat[start:place])
        start = place
    return [*sentences, flat[start:]]


def _found_in(text: str, language: str) -> Iterator[str]:
    """Sentences, looked for in a stretch of a long text after the other: sentencex's time grows
    with the square of their number."""
    from sentencex import segment

    start = 0
    while start < len(text):
        stretch = text[start : start + STRETCH]
        found = list(segment(language, stretch))
        if "".join(found) != stretch:
            found = [stretch]
        if start + STRETCH < len(text) and len(found) > 1:
            found.pop()  # it may go on in the next
        yield from found
        start += sum(map(len, found))


def _halves(text: str, fits: Callable[[str], bool]) -> list[str]:
    if len(text) < 2 or fits(text):
        return [text]
    middle = len(text) // 2
    first, last = len(text) - len(text.lstrip()), len(text.rstrip())
    for pattern in (_CLAUSE, _SPACE):
        ends = (found.end() for found in pattern.finditer(text))
        if places := [end for end in ends if first < end < last]:
            middle = min(places, key=lambda place: abs(place - len(text) / 2))
            break
    return [*_halves(text[:middle], fits), *_halves(text[middle:], fits)]
