"""What is dropped from training text, and why.

A filter is a function Pair → reason or None. The first reason counts. "The trick is to not filter
too much" (Mozilla's guide for translation models): the defaults drop what is broken, not what is
odd.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tabulate import tabulate

from evokd.data.languages import language
from evokd.data.pairs import Pair
from evokd.recipe.corpus import CleaningSettings

Filter = Callable[[Pair], "str | None"]

EXAMPLES = 5  # kept per reason

# Scripts written without spaces: characters in a word, on average.
_CHARACTERS_PER_WORD = {"Hans": 2, "Jpan": 2, "Thai": 4, "Laoo": 4, "Khmr": 4, "Mymr": 4}
# Latin characters that say as much as one character of a dense script.
_CHARACTER_WIDTH = {"Hans": 3, "Jpan": 2, "Hang": 2}

SHORT = 20
"""Below this length (in Latin characters) a ratio of lengths means nothing: "No." ~ "Keineswegs."
"""


@dataclass
class Dropped:
    """How many pairs met one fate, and the first few of them."""

    count: int = 0
    examples: list[dict[str, str]] = field(default_factory=list)

    def add(self, pair: Pair) -> None:
        """Count a pair; keep it as an example unless its other direction is one already."""
        self.count += 1
        known = any(example["origin"] == pair.origin for example in self.examples)
        if len(self.examples) < EXAMPLES and not known:
            self.examples.append(
                {"origin": pair.origin, "source": pair.source, "target": pair.target}
            )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"count": self.count, "examples": self.examples}


@dataclass
class CleaningReport:
    """What cleaning did. Counts are of directed pairs: a sentence used both ways counts twice."""

    read: int = 0
    kept: int = 0
    repaired: int = 0
    """Kept or not, pairs whose spaces, control characters or Unicode form were put right."""
    reasons: dict[str, Dropped] = field(default_factory=dict)
    warnings: dict[str, Dropped] = field(default_factory=dict)
    """Pairs that stayed although something about them is odd."""

    def drop(self, reason: str, pair: Pair) -> None:
        """Count a pair as dropped."""
        self.reasons.setdefault(reason, Dropped()).add(pair)

    def warn(self, reason: str, pair: Pair) -> None:
        """Count a pair as odd."""
        self.warnings.setdefault(reason, Dropped()).add(pair)

    def as_dict(self) -> dict[str, Any]:
        """For corpus/cleaning.json."""
        return {
            "read": self.read,
            "kept": self.kept,
            "repaired": self.repaired,
            "reasons": {reason: dropped.as_dict() for reason, dropped in self.reasons.items()},
            "warnings": {reason: dropped.as_dict() for reason, dropped in self.warnings.items()},
        }


def clean(pairs: Iterable[Pair], settings: CleaningSettings) -> tuple[list[Pair], CleaningReport]:
    """Repair and filter training pairs; order is kept."""
    report = CleaningReport()
    filters = make_filters(settings)
    kept = []
    for pair in pairs:
        report.read += 1
        source, target = repair(pair.source), repair(pair.target)
        if source != pair.source or target != pair.target:
            report.repaired += 1
            pair = replace(pair, source=source, target=target)
        reason = next((r for check in filters if (r := check(pair))), None)
        if reason is not None:
            report.drop(reason, pair)
            continue
        if _digits(source) != _digits(target):
            report.warn("number_mismatch", pair)
        kept.append(pair)
    report.kept = len(kept)
    return kept, report


def clean_sources(
    pairs: Iterable[Pair], settings: CleaningSettings
) -> tuple[list[Pair], CleaningReport]:
    """The same for pairs that have a source alone: what looks at one side looks at that, what
    compares two sides isn't asked, and a duplicate is the same sentence in the same direction."""
    report = CleaningReport()
    asked = settings.model_copy(update={"drop_copies": False, "drop_duplicates": False})
    filters = make_filters(asked)
    seen: set[tuple[str, str]] = set()
    kept = []
    for pair in pairs:
        report.read += 1
        source = repair(pair.source)
        if source != pair.source:
            report.repaired += 1
            pair = replace(pair, source=source)
        mirrored = replace(pair, target=source, target_language=pair.source_language)
        reason = next((r for check in filters if (r := check(mirrored))), None)
        if reason is None and settings.drop_duplicates and (pair.direction, source) in seen:
            reason = "duplicate"
        if reason is not None:
            report.drop(reason, pair)
            continue
        seen.add((pair.direction, source))
        kept.append(pair)
    report.kept = len(kept)
    return kept, report


# Invisible and without meaning between words. ZWNJ and ZWJ (U+200C, U+200D) stay: Persian spelling,
# Indic conjuncts and emoji need them; so do the marks of writing direction.
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")


def repair(text: str) -> str:
    """Unicode NFC, no control or zero-width characters, and every run of white space one space."""
    # No-break spaces and all that is invisible aren't printable to Python.
    if text.isprintable() and "  " not in text and unicodedata.is_normalized("NFC", text):
        return text.strip()
    text = _INVISIBLE.sub("", _CONTROL.sub("", text))
    return " ".join(unicodedata.normalize("NFC", text).split())


def make_filters(settings: CleaningSettings) -> list[Filter]:
    """The filters in their order; the last one remembers what it has seen, so use a list once."""
    filters: list[Filter] = [
        _empty,
        _too_short(settings.min_words),
        _too_long(settings.max_words),
        _long_word(settings.max_word_chars),
        _length_ratio(settings.max_length_ratio),
    ]
    if settings.drop_copies:
        filters.append(_copy)
    filters.append(_few_letters(settings.min_letter_share))
    if settings.drop_duplicates:
        filters.append(_duplicate())
    return filters


def word_count(text: str, code: str) -> int:
    """Words between spaces; where a script has none, characters over a word's usual length."""
    per_word = _CHARACTERS_PER_WORD.get(language(code).script)
    if per_word is None:
        return len(text.split())
    return -(-sum(not c.isspace() for c in text) // per_word)


def _empty(pair: Pair) -> str | None:
    return None if pair.source.strip() and pair.target.strip() else "empty"


def _too_short(least: int) -> Filter:
    return lambda pair: "too_short" if min(_word_counts(pair)) < least else None


def _too_long(most: int) -> Filter:
    return lambda pair: "too_long" if max(_word_counts(pair)) > most else None


def _word_counts(pair: Pair) -> tuple[int, int]:
    return (
        word_count(pair.source, pair.source_language),
        word_count(pair.target, pair.target_language),
    )


def _long_word(most: int) -> Filter:
    def longest(text: str, code: str) -> int:
        if language(code).script in _CHARACTERS_PER_WORD:
            return 0
        return max(map(len, text.split()), default=0)

    def check(pair: Pair) -> str | None:
        source = longest(pair.source, pair.source_language)
        target = longest(pair.target, pair.target_language)
        return "long_word" if max(source, target) > most else None

    return check


def _length_ratio(most: float) -> Filter:
    def check(pair: Pair) -> str | None:
        source = latin_length(pair.source, pair.source_language)
        target = latin_length(pair.target, pair.target_language)
        shorter, longer = sorted((source, target))
        return "length_ratio" if longer > SHORT and longer > most * shorter else None

    return check


def latin_length(text: str, code: str) -> int:
    """Characters, those of dense scripts counted as the Latin ones that say as much."""
    return len(text) * _CHARACTER_WIDTH.get(language(code).script, 1)


def _copy(pair: Pair) -> str | None:
    return "copy" if pair.source == pair.target else None


def _few_letters(least: float) -> Filter:
    def check(pair: Pair) -> str | None:
        share = min(letter_share(pair.source), letter_share(pair.target))
        return "few_letters" if share < least else None

    return check


_LETTERS = re.compile(r"[^\W\d_]+")
_NO_MARKS = re.compile(r"[\w\s!-~]+")


def letter_share(text: str) -> float:
    """Letters among the characters that aren't spaces; vowel signs and accents count as letters."""
    solid = len("".join(text.split()))
    letters = sum(map(len, _LETTERS.findall(text)))
    # What is left here is rare: quotation marks, dashes, emoji, and the marks of Indic scripts.
    marks = sum(unicodedata.category(c)[0] == "M" for c in _NO_MARKS.sub("", text))
    return (letters + marks) / solid if solid else 0.0


def _duplicate() -> Filter:
    seen: set[tuple[str, str, str, str]] = set()

    def check(pair: Pair) -> str | None:
        key = (pair.source_language, pair.target_language, pair.source, pair.target)
        if key in seen:
            return "duplicate"
        seen.add(key)
        return None

    return check


_DIGIT = re.compile(r"\d")


def _digits(text: str) -> list[int]:
    """All digits of a text, sorted: 1,000.5 and 1.000,5 and ١٠٠٠٫٥ agree."""
    return sorted(map(int, _DIGIT.findall(text)))


def as_table(report: CleaningReport | Mapping[str, Any]) -> str:
    """The report as a plain-text table; the dict of cleaning.json is accepted too."""
    facts = report.as_dict() if isinstance(report, CleaningReport) else report
    read = facts["read"]
    rows: list[Sequence[object]] = [("read", read, "", "")]
    for reason, dropped in facts["reasons"].items():
        rows.append(_row("- " + reason, dropped, read))
    rows.append(("kept", facts["kept"], _percent(facts["kept"], read), ""))
    rows.append(("of read, repaired", facts["repaired"], _percent(facts["repaired"], read), ""))
    for reason, odd in facts["warnings"].items():
        rows.append(_row("of kept, " + reason, odd, read))
    return tabulate(
        rows,
        headers=("pairs", "count", "share", "first example"),
        colalign=("left", "right", "right", "left"),
        disable_numparse=True,
    )


def _row(name: str, dropped: Mapping[str, Any], read: int) -> Sequence[object]:
    example = ""
    if dropped["examples"]:
        first = dropped["examples"][0]
        text = f"{first['source']} ||| {first['target']}"
        example = f"{first['origin']}: {text if len(text) <= 60 else text[:59] + '…'}"
    return (name, dropped["count"], _percent(dropped["count"], read), example)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""
