"""Whether a translation has the numbers of its source."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_DATE = re.compile(r"(?<!\d)(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})(?!\d)")
# Digit groups are of three; points, commas, apostrophes and narrow spaces part them.
_NUMBER = re.compile(r"\d+(?:[.,'’\u00a0\u202f\u2009 ]\d{3}(?!\d))*(?:[.,٫]\d+)?")
_MONTHS = 12


def numbers(text: str) -> Counter[str]:
    """Numbers of a text by their digits alone: 1,000.5 and 1.000,5 and 1 000,5 are all 10005."""
    return Counter(_digits(found[0]) for found in _NUMBER.finditer(text))


def missing_numbers(source: str, translation: str) -> list[str]:
    """Numbers of the source that the translation doesn't have. Those of a date that may be a
    month are let go, since it may be written as a word."""
    if not re.search(r"\d", source):
        return []
    needed, dates = numbers(_DATE.sub(" ", source)), Counter[str]()
    for found in _DATE.finditer(source):
        dates.update(_digits(part) for part in found.group(1, 3, 4) if int(part) > _MONTHS)
    in_dates = Counter(
        _digits(part) for one in _DATE.finditer(translation) for part in one.group(1, 3, 4)
    )
    there = numbers(_DATE.sub(" ", translation)) + in_dates
    return list(((needed + dates) - there).elements())


def _digits(text: str) -> str:
    digits = "".join(str(unicodedata.decimal(char)) for char in text if char.isdecimal())
    return digits.lstrip("0") or "0"
