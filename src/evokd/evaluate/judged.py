"""A folder like a run's, of systems whose outputs alone are known: results and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from evokd.evaluate.comparison import SystemOutput, TestSet, summarise
from evokd.evaluate.sentences import write_sentences
from evokd.rundir.files import write_sealed
from evokd.rundir.versions import versions

FEW_SEGMENTS = 100
"""Test sets with fewer get a caution."""


def write_judged(
    folder: Path,
    found: Mapping[str, Any],
    outputs: Sequence[SystemOutput],
    test_sets: Sequence[TestSet],
    metrics: Sequence[str],
    baseline: str,
) -> None:
    """Write both files; the page is made of them as of a run's."""
    write_sentences(folder, outputs, test_sets, metrics, found["behaviour"])
    tree = judged_tree(found, outputs, test_sets, metrics, baseline)
    write_sealed(folder / "results.json", {"name": folder.name, "title": folder.name, **tree})


def judged_tree(
    found: Mapping[str, Any],
    outputs: Sequence[SystemOutput],
    test_sets: Sequence[TestSet],
    metrics: Sequence[str],
    baseline: str,
) -> dict[str, Any]:
    """What results.json has.

    Args:
        found: scores, comparisons and behaviour of these outputs, and whatever else is known.
    """
    few = [note for one in test_sets for note in few_segments(*one.cell, len(one))]
    return {
        "evokd": versions().get("evokd", ""),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "directions": list(dict.fromkeys(test_set.direction for test_set in test_sets)),
        "baseline": baseline,
        "side_by_side": True,
        "seeds": sorted({one.seed for one in outputs if one.seed is not None}),
        "summary": summarise(found["scores"]),
        **found,
        "notes": [*few, *found.get("notes", [])],
    }


def few_segments(test_set: str, direction: str, count: int) -> list[str]:
    """A caution, where there are few."""
    if count >= FEW_SEGMENTS:
        return []
    return [
        f"{test_set} {direction} has only {count} segments: differences between systems say "
        "little, whatever their p-values."
    ]
