"""Pieces on their way through a translator and back.

A text with tags or placeholders is given twice: *bare*, without tags and with placeholders as they
are, and *masked*, with a mask in the place of each piece, which a translator has to copy. Of the
two answers the one is taken in which every piece came back exactly once, and tags nest. Where
neither is, what is missing is put back into the bare one, behind the same share of its words.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import count

from evokd.data.documents.pieces import PIECE, Piece, is_tag, known, partners, visible
from evokd.data.prompts import answer_line
from evokd.data.textfiles import one_line

MASK = "({})"
FIRST_MASK = 701
"""Masks are (701), (702) and so on: of those that were tried, what models copy best as a tag and as
a placeholder (docs/results.md)."""
_MASK = re.compile(re.escape(MASK).replace(r"\{\}", r"\d+"))
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(f"[{_IDEOGRAPHS}]|[^\\s{_IDEOGRAPHS}]+")
"""Words; characters where nothing stands between words."""


def variants(flat: str, pieces: Sequence[Piece], flowing: bool = False) -> list[str]:
    """What a translator is given of a flat text that has no spaces around it: bare, and masked
    where there is something to mask; `flowing` where line ends are but spaces."""
    chars = PIECE.findall(flat)
    bare = visible(flat, pieces)
    if flowing or any(is_tag(char, pieces) for char in chars):
        bare = " ".join(bare.split())
    if not chars:
        return [bare]
    masks = _masks(flat, chars)
    spaced = PIECE.sub(lambda found: _spaced(found[0], pieces), flat)
    masked = PIECE.sub(lambda found: masks[found[0]], spaced)
    return [bare, " ".join(masked.split())]


def _masks(flat: str, chars: Sequence[str]) -> dict[str, str]:
    """Numbers that the text doesn't have."""
    taken = set(re.findall(r"\d+", flat))
    free = (number for number in count(FIRST_MASK) if str(number) not in taken)
    return {char: MASK.format(number) for char, number in zip(chars, free, strict=False)}


def _spaced(char: str, pieces: Sequence[Piece]) -> str:
    """A piece with a space on the sides where it belongs to what is there."""
    left, right = _belongs(known(char, pieces))
    return " " * left + char + " " * right


def _belongs(piece: Piece) -> tuple[bool, bool]:
    """Whether the word on its left, and the one on its right, go where it goes."""
    return piece.kind in ("close", "single"), piece.kind in ("open", "single")


def restored(flat: str, pieces: Sequence[Piece], answers: Sequence[str]) -> tuple[str, list[Piece]]:
    """A flat text made of the answers to `variants`, in which every piece of the source is exactly
    once, and the pieces that had to be put back."""
    chars = PIECE.findall(flat)
    bare, *masked = [answer_line(one_line(answer)) for answer in answers]
    found, whole = _with_placeholders(bare, chars, pieces)
    if not chars:
        return found, []
    if not whole and masked:
        unmasked = _unmasked(masked[0], flat, chars, pieces)
        if unmasked is not None:
            return unmasked, []
    there = set(found)
    missing = [char for char in chars if char not in there]
    return _put_back(found, missing, flat, pieces), [known(char, pieces) for char in missing]


def _with_placeholders(
    answer: str, chars: Sequence[str], pieces: Sequence[Piece]
) -> tuple[str, bool]:
    """The bare answer as a flat text, and whether every piece is in it once. What came more often
    is left out of it."""
    waiting: dict[str, list[str]] = {}
    for char in chars:
        if not is_tag(char, pieces):
            waiting.setdefault(known(char, pieces).text, []).append(char)
    parts, whole = [answer], True
    if waiting:
        longest_first = sorted(waiting, key=len, reverse=True)
        parts = re.split(f"({'|'.join(map(re.escape, longest_first))})", answer)
    for place, part in enumerate(parts):
        if place % 2 == 0:
            parts[place] = PIECE.sub("", part)
        elif waiting[part]:
            parts[place] = waiting[part].pop(0)
        else:
            parts[place], whole = "", False
            parts[place + 1] = parts[place + 1].lstrip()
    found = "".join(parts)
    return found, whole and set(found).issuperset(chars)


def _unmasked(answer: str, flat: str, chars: Sequence[str], pieces: Sequence[Piece]) -> str | None:
    """The masked answer as a flat text; None where it hasn't every mask once, or tags that don't
    nest."""
    by_mask = {mask: char for char, mask in _masks(flat, chars).items()}
    answer = PIECE.sub("", answer)
    ours = [mask for mask in _MASK.findall(answer) if mask in by_mask or mask not in flat]
    if sorted(ours) != sorted(by_mask):
        return None
    made = _MASK.sub(lambda found: by_mask.get(found[0], found[0]), answer)
    if not _nest(PIECE.findall(made), chars, pieces):
        return None
    source, parts = (re.split(f"({PIECE.pattern})", text) for text in (flat, made))
    places = {char: place for place, char in enumerate(parts) if place % 2}
    for before, char, after in zip(source[:-1:2], chars, source[2::2], strict=True):
        # Spaces as they were in the source, where the mask had some of ours.
        place, (left, right) = places[char], _belongs(known(char, pieces))
        if left:
            parts[place - 1] = parts[place - 1].rstrip() + " " * before[-1:].isspace()
        if right:
            parts[place + 1] = " " * after[:1].isspace() + parts[place + 1].lstrip()
    return "".join(parts).strip()


def _nest(order: Sequence[str], chars: Sequence[str], pieces: Sequence[Piece]) -> bool:
    """Whether tags nest in an order as they do in the source's. One whose other half is elsewhere
    has to stay outside of pairs, and in its place among others of its kind."""
    pairs = partners(chars, pieces)
    closing = set(pairs.values())
    two_sided = [char for char in order if known(char, pieces).kind in ("open", "close")]
    halves = [char for char in two_sided if char not in pairs and char not in closing]
    opened: list[str] = []
    for char in two_sided:
        if char in pairs:
            opened.append(pairs[char])
        elif char in closing:
            if not opened or opened.pop() != char:
                return False
        elif opened:
            return False
    return not opened and halves == sorted(halves)


def _put_back(found: str, missing: Sequence[str], flat: str, pieces: Sequence[Piece]) -> str:
    """Pieces put into an answer behind the share of its words that they stood behind; a placeholder
    is a word."""
    words = [word.span() for word in _WORD.finditer(found)]
    shown = "".join(" " if is_tag(char, pieces) else char for char in flat)
    starts = [word.start() for word in _WORD.finditer(shown)]
    opening = {close: opened for opened, close in partners(missing, pieces).items()}
    origin = {found[0]: found.start() for found in PIECE.finditer(flat)}
    behind: dict[str, int] = {}
    made, end = [], 0
    for char in missing:
        kind = known(char, pieces).kind
        before = bisect_left(starts, origin[char])
        share = round(before / max(1, len(starts)) * len(words))
        if kind == "open":
            share = min(share, max(0, len(words) - 1))
        if char in opening:
            share = min(max(share, behind[opening[char]] + 1), len(words))
        behind[char] = share
        if kind == "close":
            place = words[share - 1][1] if words and share else 0
        else:
            place = words[share][0] if share < len(words) else len(found)
        place = max(place, end)
        made.append(found[end:place])
        end = place
        if kind != "placeholder":
            made.append(char)
        elif place == len(found):
            made.append(f" {char}" if found else char)
        else:
            made.append(f"{char} ")
    return "".join([*made, found[end:]])
