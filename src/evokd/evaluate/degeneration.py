"""What scores hide: outputs that are empty, copied, over-long, cut off or looping.

No model is needed. Length is counted in words: what stands between spaces, and single characters
in scripts that write no spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from evokd.data.hypotheses import CHARACTER_LOOP_TIMES, LOOP_TIMES, bare_words, words
from evokd.evaluate.segments import References, check_counts, reference_documents

COPY_MIN_WORDS = 3
"""Shorter sources are often names and numbers, which are rightly left as they are."""
OVER_LONG_RATIO = 2.0
OVER_LONG_EXTRA_WORDS = 5
"""So that "Yes." → "Yes, that is right." isn't over-long."""
LOOP_LONGEST = 4
EXAMPLES = 5

_CHARACTER_LOOP = re.compile(rf"(.{{1,{LOOP_LONGEST}}}?)\1{{{CHARACTER_LOOP_TIMES - 1}}}")


@dataclass(frozen=True)
class Behaviour:
    """How many of a system's outputs misbehave, and where.

    empty: nothing but white space.
    copied: the source again (apart from case and white space), where the source has at least 3
        words and no reference is that copy too. None without sources.
    over_long: more than 2 × the longest reference + 5 words.
    cut_off: the decoder stopped at its cap of tokens. None where that isn't known.
    repeated: a loop; see `loops`. Not counted where a reference loops too.
    length_ratio: words of all outputs ÷ words of all references (the mean of several references);
        None if the references hold no words.
    examples: up to 5 line numbers (from 1) by kind of misbehaviour.
    """

    segments: int
    empty: int
    copied: int | None
    over_long: int
    cut_off: int | None
    repeated: int
    length_ratio: float | None
    examples: dict[str, list[int]] = field(default_factory=dict)


def measure_behaviour(
    hypotheses: Sequence[str],
    references: References,
    sources: Sequence[str] | None = None,
    cut_off: Sequence[bool] | None = None,
) -> Behaviour:
    """Count the misbehaviour of one system's outputs, one line per segment.

    Raises:
        InputError: no segments, or unequal numbers of segments.
    """
    documents = reference_documents(references)
    check_counts(hypotheses, documents)
    if sources is not None:
        check_counts(hypotheses, [sources], reference_names=["the source"])
    if cut_off is not None:
        assert len(cut_off) == len(hypotheses), "one cut_off flag per output"
    segments = list(zip(hypotheses, zip(*documents, strict=True), strict=True))
    lines = {
        "empty": _numbers(not line.strip() for line in hypotheses),
        "over_long": _numbers(_is_over_long(line, refs) for line, refs in segments),
        "repeated": _numbers(loops(line) and not any(map(loops, refs)) for line, refs in segments),
    }
    if sources is not None:
        lines["copied"] = _numbers(
            _is_copied(line, source, refs)
            for (line, refs), source in zip(segments, sources, strict=True)
        )
    if cut_off is not None:
        lines["cut_off"] = _numbers(cut_off)
    counts = {kind: len(numbers) for kind, numbers in lines.items()}
    reference_words = sum(len(words(line)) for document in documents for line in document)
    output_words = sum(len(words(line)) for line in hypotheses)
    return Behaviour(
        segments=len(hypotheses),
        empty=counts["empty"],
        copied=counts.get("copied"),
        over_long=counts["over_long"],
        cut_off=counts.get("cut_off"),
        repeated=counts["repeated"],
        length_ratio=output_words * len(documents) / reference_words if reference_words else None,
        examples={kind: numbers[:EXAMPLES] for kind, numbers in lines.items() if numbers},
    )


def loops(line: str) -> bool:
    """Whether a line goes round in circles; case and punctuation around words don't matter.

    Three signs: 1 to 4 words come 4 times or more in direct succession; the last 4 words stand in
    the line 4 times or more (a longer phrase, repeated until the end); 1 to 4 characters, spaces
    aside, come 10 times or more in direct succession ("!!!!!!!!!!", "lalalalalala…").
    """
    spoken = bare_words(line)
    for length in range(1, LOOP_LONGEST + 1):
        run = 0
        for word, later in zip(spoken, spoken[length:], strict=False):
            run = run + 1 if word == later else 0
            if run == length * (LOOP_TIMES - 1):
                return True
    tail = spoken[-LOOP_LONGEST:]
    starts = range(len(spoken) - LOOP_LONGEST + 1)
    if sum(spoken[start : start + LOOP_LONGEST] == tail for start in starts) >= LOOP_TIMES:
        return True
    return _CHARACTER_LOOP.search("".join(line.split())) is not None


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
