"""What is dropped from training text, and why.

"The trick is to not filter too much" (Mozilla's guide for translation models): the defaults drop
what is broken, not what is odd.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from evokd.data.identification import Languages
from evokd.data.languages import language
from evokd.data.pairs import Pair
from evokd.data.repair import has_lost, put_right
from evokd.data.seen import Seen, digest, keys_of
from evokd.recipe.corpus import CleaningSettings

EXAMPLES = 5  # kept per reason
TOGETHER = 4096
"""Pairs that are judged together."""

# A text is looked at in both directions, one after the other.
_put_right = lru_cache(maxsize=16)(put_right)

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


class Judged(NamedTuple):
    """What is to be said of a pair without knowing any other."""

    read: Pair
    pair: Pair
    """Put right."""
    repairs: tuple[str, ...]
    reason: str | None
    """To drop it."""
    numbers_differ: bool

    @property
    def is_odd(self) -> bool:
        """Whether there is anything to be said."""
        return bool(self.reason or self.repairs or self.numbers_differ)


def judge(pairs: Sequence[Pair], settings: CleaningSettings, one_sided: bool) -> list[Judged]:
    """Repair pairs, and find what is wrong with them. Some thousands at a time are fastest.

    Args:
        one_sided: they have no targets, and nothing is compared with one.
    """
    how = {"mojibake": settings.mojibake, "markup": settings.markup}
    left_alone = tuple(step for step, what in how.items() if what == "keep")
    dropping = [step for step, what in how.items() if what == "drop"]
    found = []
    for read in pairs:
        source, of_source = _put_right(read.source, left_alone)
        target, of_target = _put_right(read.target, left_alone)
        repairs = tuple(dict.fromkeys((*of_source, *of_target)))
        pair = replace(read, source=source, target=target) if repairs else read
        reason = next((step for step in repairs if step in dropping), None)
        reason = reason or _reason_to_drop(pair, settings, one_sided)
        found.append(Judged(read, pair, repairs, reason, False))
    may_be_swapped = not one_sided and settings.swapped_sides != "keep"
    if settings.drop_wrong_language or may_be_swapped:
        sides = [_sides(one.pair, one_sided) for one in found if one.reason is None]
        languages = Languages(text for own in sides for text, _ in own)
        for place, one in enumerate(found):
            if one.reason is None:
                found[place] = _in_right_language(one, settings, languages, one_sided)
    if one_sided:
        return found
    return [
        one._replace(numbers_differ=True)
        if one.reason is None and _digits(one.pair.source) != _digits(one.pair.target)
        else one
        for one in found
    ]


def _in_right_language(
    one: Judged, settings: CleaningSettings, languages: Languages, one_sided: bool
) -> Judged:
    """Sides that are each in the other's language change places; a side in another language is a
    reason to drop the pair."""
    pair, wrong = one.pair, False
    may_be_swapped = not one_sided and settings.swapped_sides != "keep"
    if may_be_swapped and _sides_are_swapped(pair, languages):
        pair = replace(pair, source=pair.target, target=pair.source)
        reason = "swapped_sides" if settings.swapped_sides == "drop" else None
        one = one._replace(pair=pair, repairs=(*one.repairs, "swapped_sides"), reason=reason)
    if one.reason is None and settings.drop_wrong_language:
        wrong = not all(languages.may_be(*side) for side in _sides(pair, one_sided))
    return one._replace(reason="wrong_language") if wrong else one


class Sieve:
    """What pairs are to each other: duplicates, counts, the first examples of everything.

    Attributes:
        report: of all that went through.
    """

    def __init__(self, settings: CleaningSettings, translated: Iterable[Pair] = ()):
        self.report = CleaningReport()
        self._drops_duplicates = settings.drop_duplicates
        self._seen = Seen.of(_key(pair.direction, pair.source) for pair in translated)

    def duplicates(
        self,
        size: int,
        odd: Mapping[int, Judged],
        places: np.ndarray,
        keys: np.ndarray,
        plain: Callable[[int], Pair],
    ) -> np.ndarray:
        """Take in the next `size` pairs; which of those that may stay are duplicates.

        Args:
            odd: of those pairs, by their places, the ones of which there is something to be said.
            places: (n,), of those that may stay; `keys`, (n,), what they are known by.
            plain: the pair in a place that isn't in `odd`.
        """
        is_new = np.ones(len(places), bool)
        if self._drops_duplicates:
            is_new = self._seen.add(keys)
        report, twice = self.report, set(places[~is_new].tolist())
        report.read += size
        for place in sorted({*odd, *twice}):
            one = odd.get(place) or Judged(plain(place), plain(place), (), None, False)
            reason = one.reason or ("duplicate" if place in twice else None)
            if reason is not None:
                report.drop(reason, one.read)
                continue
            if one.repairs:
                report.repair(one.repairs, one.read, one.pair)
            if one.numbers_differ:
                report.warnings.setdefault("number_mismatch", Tally()).add(one.pair)
        return ~is_new


def pair_key(pair: Pair) -> bytes:
    """What duplicates have in common."""
    return _key(pair.direction, pair.source, pair.target)


def _key(direction: str, source: str, target: str = "") -> bytes:
    return digest(direction, source, target)


def clean(
    pairs: Iterable[Pair], settings: CleaningSettings, translated: Iterable[Pair] | None = None
) -> tuple[list[Pair], CleaningReport]:
    """Repair and filter training pairs; order is kept.

    Args:
        translated: says that the pairs have no targets, and where some sentences have one. Nothing
            is compared with a target, and a duplicate is the same sentence in the same direction,
            of `translated` or of the pairs themselves.
    """
    sieve, rest, kept = Sieve(settings, translated or ()), iter(pairs), []
    while chunk := list(islice(rest, TOGETHER)):
        judged = judge(chunk, settings, translated is not None)
        odd = {place: one for place, one in enumerate(judged) if one.is_odd}
        places = np.array([i for i, one in enumerate(judged) if one.reason is None], np.int64)
        keys = keys_of(pair_key(judged[place].pair) for place in places.tolist())
        twice = sieve.duplicates(len(chunk), odd, places, keys, chunk.__getitem__)
        kept += [judged[place].pair for place in places[~twice].tolist()]
    return kept, sieve.report


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


def _sides_are_swapped(pair: Pair, languages: Languages) -> bool:
    """Whether neither side can be in its own language and each can be in the other's."""
    first, second = _sides(pair)
    return (
        not languages.may_be(*first)
        and not languages.may_be(*second)
        and languages.may_be(first[0], second[1])
        and languages.may_be(second[0], first[1])
    )


def _reason_to_drop(pair: Pair, settings: CleaningSettings, one_sided: bool) -> str | None:
    """The first reason that holds, of those that can be seen without knowing any language."""
    source = _measured(pair.source, pair.source_language)
    sides = [source] if one_sided else [source, _measured(pair.target, pair.target_language)]
    if any(side.is_empty for side in sides):
        return "empty"
    if settings.mojibake != "keep" and any(side.has_lost for side in sides):
        return "mojibake"
    words = [side.words for side in sides]
    if min(words) < settings.min_words:
        return "too_short"
    if max(words) > settings.max_words:
        return "too_long"
    if max(side.longest_word for side in sides) > settings.max_word_chars:
        return "long_word"
    lengths = [side.latin_length for side in sides]
    if max(lengths) > max(SHORT, settings.max_length_ratio * min(lengths)):
        return "length_ratio"
    if settings.drop_copies and not one_sided and pair.source == pair.target:
        return "copy"
    if min(side.letter_share for side in sides) < settings.min_letter_share:
        return "few_letters"
    return None


class Measures(NamedTuple):
    """Of one side."""

    is_empty: bool
    has_lost: bool
    words: int
    longest_word: int
    latin_length: int
    letter_share: float


@lru_cache(maxsize=16)
def _measured(text: str, code: str) -> Measures:
    return Measures(
        not text.strip(),
        has_lost(text),
        word_count(text, code),
        _longest_word(text, code),
        latin_length(text, code),
        letter_share(text),
    )


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


@lru_cache(maxsize=16)
def _digits(text: str) -> list[int]:
    """All digits of a text, sorted: 1,000.5 and 1.000,5 and ١٠٠٠٫٥ agree."""
    return sorted(map(int, re.findall(r"\d", text)))
