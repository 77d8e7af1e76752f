"""What an engine writes beside what evokd's own decoder does, on a sample of the lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from evokd.errors import InputError
from evokd.models.loading import Translator
from evokd.recipe.judging import DecodingSettings
from evokd.translate.decoding import translate
from evokd.translate.engines.engine import Engine, generate_by

SAMPLE = 64
"""Lines, of all lengths."""
ALIKE = 90.0
"""chrF below which the two are told to differ."""
FOREIGN = 50.0
"""chrF below which an engine reads something else than we do, and its text is refused."""


def engine_facts(
    engine: Engine | None,
    translator: Translator,
    lines: Sequence[str],
    direction: str,
    settings: DecodingSettings,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """What stands beside an engine's text: its name, version and precision, and how far it is of
    one mind with evokd's own decoder. Nothing for evokd's own.

    Args:
        lines: what is to be translated; a sample of it is, by both.

    Returns:
        engine: name, version, number format. same_lines: share of the sample's lines that are the
        same, chrf: mean of each line's, with ours as its reference, compared_lines: how many they
        are; None where no line has text.

    Raises:
        InputError: the two have hardly anything in common.
    """
    if engine is None:
        return {}
    label = f"{engine.name} {engine.version}"
    sample = sample_of(lines)
    if not sample:
        return {"engine": label, "compared_lines": 0, "same_lines": None, "chrf": None}
    source, target = direction.split("-")
    given = (translator, sample, source, target, settings, None)
    theirs = translate(*given, generate_by(engine, settings)).lines
    ours = translate(*given).lines
    same = sum(a == b for a, b in zip(theirs, ours, strict=True))
    score = chrf(theirs, ours)
    told = (
        f"{same} of {len(sample)} sample lines are those of evokd's own decoder, chrF {score:.1f}"
    )
    if score < FOREIGN:
        differing = (pair for pair in zip(theirs, ours, strict=True) if pair[0] != pair[1])
        theirs_first, ours_first = next(differing)
        raise InputError(
            f"{label}: only {told}; it reads this model or its tokens otherwise than we do, and "
            f"its text isn't used. The first that differs: {theirs_first[:80]!r}, ours "
            f"{ours_first[:80]!r}. Type decoding.engine=evokd"
        )
    warning = "warning: " if score < ALIKE else ""
    log(f"{warning}{label} ({direction}, beam {settings.beam}): {told}")
    return {
        "engine": label,
        "compared_lines": len(sample),
        "same_lines": round(same / len(sample), 4),
        "chrf": round(score, 2),
    }


def sample_of(lines: Sequence[str]) -> list[str]:
    """Lines of all lengths, each once, the same ones every time."""
    by_length = sorted({line for line in lines if line.strip()}, key=lambda line: (len(line), line))
    return by_length[:: -(-len(by_length) // SAMPLE)] if by_length else []


def chrf(theirs: Sequence[str], ours: Sequence[str]) -> float:
    """The mean of sacreBLEU's chrF2 of each line, 0 to 100, so that no long line outweighs the
    others; lines that are the same, blank ones too, have 100."""
    from sacrebleu.metrics import CHRF

    score = CHRF().sentence_score
    pairs = zip(theirs, ours, strict=True)
    return fmean(100.0 if a == b else float(score(a, [b]).score) for a, b in pairs)
