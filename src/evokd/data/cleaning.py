"""What is dropped from training text, and why.

"The trick is to not filter too much" (Mozilla's guide for translation models): the defaults drop
what is broken, not what is odd.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from evokd.data.identification import in_language
from evokd.data.languages import language
from evokd.data.pairs import Pair
from evokd.data.repair import has_lost, put_right
from evokd.recipe.corpus import CleaningSettings

EXAMPLES = 5  # kept per reason

# Scripts written without spaces: characters in a word, on average.
_CHARACTERS_PER_WORD = {"Hans": 2, "Jpan": 2, "Thai": 4, "Laoo": 4, "Khmr": 4, "Mymr": 4}
# Latin characters that say as much as one character of a dense script.
_CHARACTER_WIDTH = {"Hans": 3, "Jpan": 2, "Hang": 2}

SHORT = 20
"""Latin characters below which a ratio of lengths means nothing: "No." ~ "Keineswegs." """


@dataclass
class Tally:
    """How many pairs something is true of, and the first few of them."""

    count: int = 0
    examples: list[dict[str, str]] = field(default_factory=list)

    def add(self, pair: Pair, became: Pair | None = None) -> None:
        """Count a pair; keep it as an example unless its other direction is one already.

        Args:
            became: what was made of it.
        """
        self.count += 1
        known = any(example["origin"] == pair.origin for example in self.examples)
        if len(self.examples) < EXAMPLES and not known:
            example = {"origin": pair.origin, "source": pair.source, "target": pair.target}
            if became is not None:
                example |= {"source_became": became.source, "target_became": became.target}
            self.examples.append(example)


@dataclass
class CleaningReport:
    """What cleaning did. Counts are of directed pairs: a sentence used both ways counts twice."""

    read: int = 0
    repaired: int = 0
    """Of the kept ones, pairs that were put right."""
    repairs: dict[str, Tally] = field(default_factory=dict)
    """Those pairs, as they were, by what was put right."""
    reasons: dict[str, Tally] = field(default_factory=dict)
    """Dropped pairs, by the reason."""
    warnings: dict[str, Tally] = field(default_factory=dict)
    """Pairs that stayed although something about them is odd."""

    @property
    def kept(self) -> int:
        return self.read - sum(tally.count for tally in self.reasons.values())

    def drop(self, reason: str, pair: Pair) -> None:
        """Count a pair as dropped."""
        self.reasons.setdefault(reason, Tally()).add(pair)

    def repair(self, kinds: Iterable[str], pair: Pair, became: Pair) -> None:
        """Count a pair as put right."""
        self.repaired += 1
        for kind in kinds:
            self.repairs.setdefault(kind, Tally()).add(pair, became)

    def as_dict(self) -> dict[str, Any]:
        """For corpus/cleaning.json."""
        return {"read": self.read, "kept": self.kept, **asdict(self)}


def clean(
    pairs: Iterable[Pair], settings: CleaningSettings, translated: Iterable[Pair] | None = None
) -> tuple[list[Pair], CleaningReport]:
    """Repair and filter training pairs; order is kept.

    Args:
        translated: says that the pairs have no targets, and where some sentences have one. Nothing
            is compared with a target, and a duplicate is the same sentence in the same direction,
            of `translated` or of the pairs themselves.
    """
    report = CleaningReport()
    kept = []
    one_sided = translated is not None
    seen = {(pair.direction, pair.source, "") for pair in translated or ()}
    how = {"mojibake": settings.mojibake, "markup": settings.markup}
    left_alone = [step for step, what in how.items() if what == "keep"]
    dropping = [step for step, what in how.items() if what == "drop"]
    for read in pairs:
        report.read += 1
        source, of_source = put_right(read.source, left_alone)
        target, of_target = put_right(read.target, left_alone)
        repairs = list(dict.fromkeys((*of_source, *of_target)))
        pair = replace(read, source=source, target=target) if repairs else read
        reason = next((step for step in repairs if step in dropping), None)
        reason = reason or _reason_to_drop(pair, settings, one_sided)
        may_be_swapped = not one_sided and settings.swapped_sides != "keep"
        if reason is None and may_be_swapped and _sides_are_swapped(pair):
            pair = replace(pair, source=pair.target, target=pair.source)
            repairs.append("swapped_sides")
            reason = "swapped_sides" if settings.swapped_sides == "drop" else None
        if reason is None and settings.drop_wrong_language:
            right = all(in_language(*side) for side in _sides(pair, one_sided))
            reason = None if right else "wrong_language"
        if reason is None and settings.drop_duplicates:
            key = (pair.direction, pair.source, pair.target)
            reason = "duplicate" if key in seen else None
            seen.add(key)
        if reason is not None:
            report.drop(reason, read)
            continue
        if repairs:
            report.repair(repairs, read, pair)
        if not one_sided and _digits(pair.source) != _digits(pair.target):
            report.warnings.setdefault("number_mismatch", Tally()).add(pair)
        kept.append(pair)
    return kept, report


def summary(report: Mapping[str, Any]) -> str:
    """A cleaning report in a line: what was dropped and what was put right, the most first."""

    def of(total: int, what: str, tallies: Mapping[str, Any]) -> str:
        kinds = sorted(tallies.items(), key=lambda kind: -kind[1]["count"])
        each = ", ".join(f"{kind.replace('_', ' ')} {one['count']}" for kind, one in kinds)
        return f"{total} {what}" + (f" ({each})" if each else "")

    dropped = of(report["read"] - report["kept"], "dropped", report["reasons"])
    repaired = of(report["repaired"], "repaired", report["repairs"])
    return f"{report['read']} read, {dropped}, {repaired}"


def _sides(pair: Pair, one_sided: bool = False) -> list[tuple[str, str]]:
    """Text and language of each side."""
    both = [(pair.source, pair.source_language), (pair.target, pair.target_language)]
    return both[:1] if one_sided else both


def _sides_are_swapped(pair: Pair) -> bool:
    """Whether neither side can be in its own language and each can be in the other's."""
    first, second = _sides(pair)
    return (
        not in_language(*first)
        and not in_language(*second)
        and in_language(first[0], second[1])
        and in_language(second[0], first[1])
    )


def _reason_to_drop(pair: Pair, settings: CleaningSettings, one_sided: bool) -> str | None:
    """The first reason that holds, of those that can be seen without knowing any language."""
    sides = _sides(pair, one_sided)
    if not all(text.strip() for text, _ in sides):
        return "empty"
    if settings.mojibake != "keep" and any(has_lost(text) for text, _ in sides):
        return "mojibake"
    words = [word_count(*side) for side in sides]
    if min(words) < settings.min_words:
        return "too_short"
    if max(words) > settings.max_words:
        return "too_long"
    if max(_longest_word(*side) for side in sides) > settings.max_word_chars:
        return "long_word"
    lengths = [latin_length(*side) for side in sides]
    if max(lengths) > max(SHORT, settings.max_length_ratio * min(lengths)):
        return "length_ratio"
    if settings.drop_copies and not one_sided and pair.source == pair.target:
        return "copy"
    if min(letter_share(text) for text, _ in sides) < settings.min_letter_share:
        return "few_letters"
    return None


def word_count(text: str, code: str) -> int:
    """Words between spaces; where a script has none, characters over a word's usual length."""
    per_word = _CHARACTERS_PER_WORD.get(language(code).script)
    if per_word is None:
        return len(text.split())
    return -(-sum(not c.isspace() for c in text) // per_word)


def _longest_word(text: str, code: str) -> int:
    """Its characters; 0 where a script writes no spaces."""
    if language(code).script in _CHARACTERS_PER_WORD:
        return 0
    return max(map(len, text.split()), default=0)


def latin_length(text: str, code: str) -> int:
    """Characters, those of dense scripts counted as the Latin ones that say as much."""
    return len(text) * _CHARACTER_WIDTH.get(language(code).script, 1)


_LETTERS = re.compile(r"[^\W\d_]+")
_NO_MARKS = re.compile(r"[\w\s!-~]+")


def letter_share(text: str) -> float:
    """Letters among the characters that aren't spaces; vowel signs and accents count as letters."""
    solid = len("".join(text.split()))
    letters = sum(map(len, _LETTERS.findall(text)))
    # What is left here is rare: quotation marks, dashes, emoji, and the marks of Indic scripts.
    marks = sum(unicodedata.category(c)[0] == "M" for c in _NO_MARKS.sub("", text))
    return (letters + marks) / solid if solid else 0.0


def _digits(text: str) -> list[int]:
    """All digits of a text, sorted: 1,000.5 and 1.000,5 and ١٠٠٠٫٥ agree."""
    return sorted(map(int, re.findall(r"\d", text)))
