"""What scores hide: outputs that are empty, copied, over-long, cut off or looping.

No model is needed. Length is counted in words: what stands between spaces, and single characters
in scripts that write no spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evokd.data.hypotheses import is_looping, words

COPY_MIN_WORDS = 3
"""Shorter sources are often names and numbers, which are rightly left as they are."""
OVER_LONG_RATIO = 2.0
OVER_LONG_EXTRA_WORDS = 5
"""So that "Yes." → "Yes, that is right." isn't over-long."""
EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How many of a system's outputs misbehave, and where.

    empty: nothing but white space.
    copied: the source again (apart from case and white space), where the source has at least 3
        words and no reference is that copy too. None without sources.
    over_long: more than 2 × the longest reference + 5 words.
    cut_off: the decoder stopped at its cap of tokens. None where that isn't known.
    repeated: it goes in circles (`is_looping`), and no reference does.
    length_ratio: words of all outputs ÷ words of all references (the mean of several references);
        None if the references hold no words.
    examples: up to 5 line numbers (from 1) by kind of misbehaviour.
    """

    segments: int
    empty: int
    copied: int | None = None
    over_long: int
    cut_off: int | None = None
    repeated: int
    length_ratio: float | None
    examples: dict[str, list[int]]


def measure_behaviour(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    sources: Sequence[str] | None = None,
    cut_off: Sequence[bool] | None = None,
) -> Behaviour:
    """Count the misbehaviour of one system's outputs: a line, a source, a flag per segment, and
    of each reference a line."""
    segments = list(zip(hypotheses, zip(*references, strict=True), strict=True))
    lines = {
        "empty": _numbers(not line.strip() for line in hypotheses),
        "over_long": _numbers(_is_over_long(line, refs) for line, refs in segments),
        "repeated": _numbers(
            is_looping(line) and not any(map(is_looping, refs)) for line, refs in segments
        ),
    }
    if sources is not None:
        lines["copied"] = _numbers(
            _is_copied(line, source, refs)
            for (line, refs), source in zip(segments, sources, strict=True)
        )
    if cut_off is not None:
        lines["cut_off"] = _numbers(cut_off)
    reference_words = sum(len(words(line)) for document in references for line in document)
    output_words = sum(len(words(line)) for line in hypotheses)
    return Behaviour(
        segments=len(hypotheses),
        length_ratio=output_words * len(references) / reference_words if reference_words else None,
        examples={kind: numbers[:EXAMPLES] for kind, numbers in lines.items() if numbers},
        **{kind: len(numbers) for kind, numbers in lines.items()},
    )


def _is_copied(line: str, source: str, references: Sequence[str]) -> bool:
    copy = _normalised(line)
    return (
        copy == _normalised(source)
        and len(words(source)) >= COPY_MIN_WORDS
        and all(copy != _normalised(reference) for reference in references)
    )


def _is_over_long(line: str, references: Sequence[str]) -> bool:
    longest = max(len(words(reference)) for reference in references)
    return len(words(line)) > OVER_LONG_RATIO * longest + OVER_LONG_EXTRA_WORDS


def _normalised(line: str) -> str:
    return " ".join(unicodedata.normalize("NFC", line).casefold().split())


def _numbers(flags: Iterable[bool]) -> list[int]:
    """Line numbers, from 1, of what is true."""
    return [number for number, flag in enumerate(flags, start=1) if flag]
