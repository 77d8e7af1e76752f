"""Machine translations that nobody should be trained on: nothing, circles, fragments, floods."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from evokd.data.cleaning import SHORT, latin_length
from evokd.data.pairs import Pair

LEFT_OUT = "left_out.json"
"""In a folder of text: what was left out of it, with counts and examples."""
LOOP_TIMES = 4
"""Words that come so often in direct succession go in a circle."""
CHARACTER_LOOP_TIMES = 10
"""The same of characters: "!!!!!!!!!!", "lalalalalalalalalala"."""
LOOP_SHARE = 0.5
"""Of a line that a circle fills, or it is left alone: "He ran and ran and ran and ran home, …"."""

# Thai to Lao, Burmese, Khmer, kana, Chinese characters: words without spaces between them.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


@dataclass(frozen=True)
class Candidate:
    """One translation of a line by a model.

    Attributes:
        text: exactly one line, perhaps empty.
        log_probability: Σ ln q over its tokens, the one that ended it included, in nats; no length
            penalty.
        tokens: how many these are.
        stopped_by: what ended it: "eos", "newline" or "cap".
    """

    text: str
    log_probability: float
    tokens: int
    stopped_by: str


def reason_to_leave_out(pair: Pair, stopped_by: str, max_length_ratio: float) -> str | None:
    """Why a translation is no text to train on, or None. The first of these reasons counts:

    empty      it holds no character
    looping    it goes round in circles (`is_looping`), and its source doesn't
    cut_off    it hit its cap of tokens, so that its end is missing
    over_long  it is more than `max_length_ratio` times as long as its source, in characters; a
               source of less than 20 counts as one of 20

    Characters of Chinese, Japanese and Korean count as two or three, as in cleaning.

    Args:
        pair: the source, and the translation as its target.
        stopped_by: as in `Candidate`.
    """
    if not pair.target.strip():
        return "empty"
    if is_looping(pair.target) and not is_looping(pair.source):
        return "looping"
    if stopped_by == "cap":
        return "cut_off"
    source = max(SHORT, latin_length(pair.source, pair.source_language))
    if latin_length(pair.target, pair.target_language) > max_length_ratio * source:
        return "over_long"
    return None


def is_looping(line: str) -> bool:
    """Whether one phrase, repeated 4 times or more without a break, fills half of a line or more.

    Case and punctuation don't matter; in scripts without spaces each character is a word. The same
    holds for characters, spaces aside, that are repeated 10 times or more.
    """
    characters = "".join(line.casefold().split())
    return (
        _repeated_share(bare_words(line), LOOP_TIMES) >= LOOP_SHARE
        or _repeated_share(characters, CHARACTER_LOOP_TIMES) >= LOOP_SHARE
    )


def words(line: str) -> list[str]:
    """What stands between spaces, and single characters of scripts without spaces."""
    return WORD.findall(line)


def bare_words(line: str) -> list[str]:
    """Words without case and punctuation; what is punctuation alone is none."""
    letters = ("".join(filter(str.isalnum, word)) for word in words(line.casefold()))
    return [word for word in letters if word]


def _repeated_share(units: Sequence[str], times: int) -> float:
    """The largest share of a line that is one phrase, so many `times` or more in a row."""
    longest = 0
    for length in range(1, len(units) // times + 1):
        run = 0
        for unit, later in zip(units, units[length:], strict=False):
            run = run + 1 if unit == later else 0
            if run >= length * (times - 1):
                longest = max(longest, run + length)
    return longest / len(units) if units else 0.0
