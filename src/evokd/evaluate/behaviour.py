"""What scores hide: outputs that are empty, in another language, cut, looping, with other numbers.

No translator is needed. Length is counted in words: what stands between spaces, and single
characters in scripts that write no spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese). What some
reference does as well is no fault.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from evokd.data.documents.numbers import missing_numbers, numbers
from evokd.data.documents.pieces import PLACEHOLDER, TAG
from evokd.data.hypotheses import bare_words, is_looping, words
from evokd.data.identification import Languages, can_be_told
from evokd.data.languages import language

KINDS = (
    *("empty", "copied", "untranslated", "off_target", "over_long", "over_short"),
    *("cut_off", "repeated", "numbers", "urls", "placeholders"),
)
COPY_MIN_WORDS = 3
"""Shorter sources are often names and numbers, which are rightly left as they are."""
OVER_LONG_RATIO = 2.0
OVER_LONG_EXTRA_WORDS = 5
"""So that "Yes." → "Yes, that is right." isn't over-long."""
OSCILLATION = (4, 8)
"""Words, or characters where none stand between spaces, of a phrase that comes too often."""
OSCILLATES = 2
"""Times more often than in source and references (Raunak et al. 2021)."""
ANOTHER = 0.05
"""Of a line that is in the target language or another one, the probability of the former."""
MIXED_UP = ("bs hr sr", "cs sk", "da nb nn no", "hi mr ne", "id ms", "de lb", "es gl", "af nl")
"""Languages that py3langid takes for each other in short lines."""
RUN = 3
"""Words in a row that are taken from the source; two of them no names or numbers."""
SPELLED_OUT = 12
"""Numbers up to it may be words."""
_ADDRESS = re.compile(r"://|^www\.|^[^{}$%#]+@")
_CLOCK = re.compile(r"(?<!\d)(\d{1,2}):(\d\d)(?!\d)")
_YEAR, _HOURS = 4, 24  # digits; a day's
_MYRIAD = re.compile("[万萬億亿만억]")
_MARKER = re.compile(r"#[A-Z][A-Z_]+#")


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How many of a system's outputs misbehave, and where.

    empty: nothing but white space.
    copied: the source again (apart from case and white space), where the source has at least 3
        words and no reference is that copy too. None without sources.
    untranslated: a part of it is: 3 words in a row of the source that are in no reference, of which
        two are neither capitalised nor numbers; or letters of an alphabet of the source that no
        reference has. None without sources.
    off_target: probably in another language, of the study or of USUAL (py3langid). None where it
        doesn't know the target's.
    over_long: more than 2 × the longest reference + 5 words.
    over_short: 2 × its words + 5 are fewer than those of the shortest reference.
    cut_off: the decoder stopped at its cap of tokens. None where that isn't known.
    repeated: it goes in circles (`is_looping`), and no reference does; or a phrase comes twice more
        often than it or another one does in source and references.
    numbers: one of the source is missing. Those up to 12, which may be words, count where there is
        another number instead. None without sources.
    urls, placeholders: one of the source isn't there as it was. None without sources.
    length_ratio: words of all outputs ÷ words of all references (the mean of several references);
        None if the references hold no words.
    lines: line numbers (from 1) by kind of misbehaviour.
    """

    segments: int
    empty: int
    copied: int | None = None
    untranslated: int | None = None
    off_target: int | None = None
    over_long: int
    over_short: int
    cut_off: int | None = None
    repeated: int
    numbers: int | None = None
    urls: int | None = None
    placeholders: int | None = None
    length_ratio: float | None
    lines: dict[str, list[int]]


Judge = Callable[[str, str, Sequence[str]], bool]
"""Of an output, its source and its references; neither output nor source is empty."""


def measure_behaviour(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    sources: Sequence[str] | None = None,
    cut_off: Sequence[bool] | None = None,
    *,
    target: str | None = None,
    others: Collection[str] = (),
) -> Behaviour:
    """Find the misbehaviour of one system's outputs: a line, a source, a flag per segment, and of
    each reference a line.

    Args:
        target: the language that they should be in; without, none is off target.
        others: languages that they may be in instead.
    """
    segments = list(zip(hypotheses, zip(*references, strict=True), strict=True))
    texts = [""] * len(segments) if sources is None else sources
    of_all = list(zip(segments, texts, strict=True))
    lines = {
        "empty": _numbers(not line.strip() for line in hypotheses),
        "over_long": _numbers(_is_over_long(line, refs) for line, refs in segments),
        "over_short": _numbers(
            bool(line.strip()) and _is_over_short(line, refs) for line, refs in segments
        ),
        "repeated": _numbers(_is_repeated(line, text, refs) for (line, refs), text in of_all),
    }
    if target is not None and can_be_told(target):
        lines["off_target"] = _off_target(segments, target, others)
    if sources is not None:
        for kind, judge in _WITH_SOURCE.items():
            lines[kind] = _numbers(
                bool(line.strip() and text.strip()) and judge(line, text, refs)
                for (line, refs), text in of_all
            )
    if cut_off is not None:
        lines["cut_off"] = _numbers(cut_off)
    reference_words = sum(len(words(line)) for document in references for line in document)
    output_words = sum(len(words(line)) for line in hypotheses)
    return Behaviour(
        segments=len(hypotheses),
        length_ratio=output_words * len(references) / reference_words if reference_words else None,
        lines={kind: numbers for kind, numbers in lines.items() if numbers},
        **{kind: len(numbers) for kind, numbers in lines.items()},
    )


def _is_copied(line: str, source: str, references: Sequence[str]) -> bool:
    copy = _normalised(line)
    return (
        copy == _normalised(source)
        and len(words(source)) >= COPY_MIN_WORDS
        and all(copy != _normalised(reference) for reference in references)
    )


def _is_untranslated(line: str, source: str, references: Sequence[str]) -> bool:
    if _is_copied(line, source, references):
        return False
    taken = _plain_runs(source) & _plain_runs(line)
    if taken and all(taken.difference(_runs(bare_words(one), RUN)) for one in references):
        return True
    foreign = _alphabets(source).difference(*map(_alphabets, references), {"LATIN", ""})
    return bool(foreign) and any(
        _alphabet(first) in foreign and _alphabet(second) in foreign and first + second in source
        for first, second in pairwise(line)
    )


USUAL = ("en", "de", "fr", "es", "it", "pt", "pl", "cs", "ru", "uk", "zh", "ja", "ko", "ar", "hi")
"""Languages that an output may be in whatever was asked for, so that a count doesn't depend on the
other directions that are scored."""


def _off_target(
    segments: Sequence[tuple[str, Sequence[str]]], target: str, others: Collection[str]
) -> list[int]:
    """Line numbers. Languages that are mixed up with the target's are left out of the others."""
    own = language(target).code
    kin = {own, *(code for group in MIXED_UP if own in group.split() for code in group.split())}
    rivals = sorted({language(code).code for code in (*others, *USUAL)} - kin)

    def of(texts: Sequence[str]) -> list[bool]:
        found = Languages(texts)
        shares = [found.share(text, own, rivals) for text in texts]
        return [share is not None and share < ANOTHER for share in shares]

    flagged = _numbers(of([line for line, _ in segments]))
    return [number for number in flagged if not any(of(segments[number - 1][1]))]


def _is_over_long(line: str, references: Sequence[str]) -> bool:
    longest = max(len(words(reference)) for reference in references)
    return len(words(line)) > OVER_LONG_RATIO * longest + OVER_LONG_EXTRA_WORDS


def _is_over_short(line: str, references: Sequence[str]) -> bool:
    shortest = min(len(words(reference)) for reference in references)
    return shortest > OVER_LONG_RATIO * len(words(line)) + OVER_LONG_EXTRA_WORDS


def _is_repeated(line: str, source: str, references: Sequence[str]) -> bool:
    if is_looping(line):
        return not any(map(is_looping, references))
    length = OSCILLATION[len(line.split()) * 4 < len(words(line))]
    often = _most_frequent(line, length)
    return often > OSCILLATES and all(
        often >= _most_frequent(text, length) + OSCILLATES for text in (source, *references)
    )


def _has_other_numbers(line: str, source: str, references: Sequence[str]) -> bool:
    if not _differ_in_numbers(line, source, references):
        return False
    # 12:39 are two numbers and 12.39 is one: so neither is told from the other
    line, source, *others = (_CLOCK.sub(r"\1.\2", text) for text in (line, source, *references))
    return _differ_in_numbers(line, source, others)


def _differ_in_numbers(line: str, source: str, references: Sequence[str]) -> bool:
    missing = Counter(missing_numbers(source, line))
    if not missing:
        return False
    new = numbers(line) - numbers(source)
    for reference in references:
        missing -= Counter(missing_numbers(source, reference))
        new -= numbers(reference)
    # the 90s may be the 1990s, 9 pm be 21, and 15,000 is 1.5 times 万
    alike = {one[-2:] for one in new if len(one) == _YEAR}
    alike |= {str(int(one) + shift) for one in new for shift in (-12, 12) if int(one) <= _HOURS}
    if _MYRIAD.search(line + source):
        alike |= {one for one in missing if one.rstrip("0") in {two.rstrip("0") for two in new}}
    left = [number for number in missing if number not in alike]
    return bool(left and new) or any(int(number) > SPELLED_OUT for number in left)


def _lost(find: Callable[[str], Iterable[str]]) -> Judge:
    """Whether something that is found in the source isn't in an output."""

    def lost(line: str, source: str, references: Sequence[str]) -> bool:
        needed = Counter(find(source))
        missing = needed - Counter(find(line)) if needed else needed
        for reference in references if missing else ():
            missing -= needed - Counter(find(reference))
        return bool(missing)

    return lost


def _urls(text: str) -> list[str]:
    return [one[0] for one in PLACEHOLDER.finditer(text) if _ADDRESS.search(one[0])]


def _placeholders(text: str) -> list[str]:
    """Without entities, which are characters."""
    found = [one[0] for one in PLACEHOLDER.finditer(text) if not _ADDRESS.search(one[0])]
    tags = [one[0] for one in TAG.finditer(text)]
    return [one for one in found if one[0] != "&"] + tags + _MARKER.findall(text)


_WITH_SOURCE: dict[str, Judge] = {
    "copied": _is_copied,
    "untranslated": _is_untranslated,
    "numbers": _has_other_numbers,
    "urls": _lost(_urls),
    "placeholders": _lost(_placeholders),
}


def _plain_runs(line: str) -> set[tuple[str, ...]]:
    """Runs of words, of which all but one are neither capitalised nor numbers."""
    cased = [bare for word in words(line) if (bare := "".join(filter(str.isalnum, word)))]
    return {
        tuple(word.casefold() for word in run)
        for run in _runs(cased, RUN)
        if sum(len(w) > 1 and w.isalpha() and not w[0].isupper() for w in run) >= RUN - 1
    }


def _runs(units: Sequence[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(units[start : start + length]) for start in range(len(units) - length + 1)]


def _most_frequent(line: str, length: int) -> int:
    """How often the phrase of so many words comes that comes most often."""
    return max(Counter(_runs(bare_words(line), length)).values(), default=0)


def _alphabets(text: str) -> set[str]:
    return {_alphabet(char) for char in text}


@lru_cache(maxsize=100_000)
def _alphabet(char: str) -> str:
    """LATIN, ARABIC, CJK, … of a letter; of other characters nothing."""
    return unicodedata.name(char, "").partition(" ")[0] if char.isalpha() else ""


def _normalised(line: str) -> str:
    return " ".join(unicodedata.normalize("NFC", line).casefold().split())


def _numbers(flags: Iterable[bool]) -> list[int]:
    """Line numbers, from 1, of what is true."""
    return [number for number, flag in enumerate(flags, start=1) if flag]
