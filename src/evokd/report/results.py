"""What stands in the results dict (`results.json`), asked in the report's words.

Everything tolerates missing parts: what isn't there is None or an empty list.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from evokd.recipe.metrics import AVERAGE, BLEU_VS_TEACHER, describe

Results = dict[str, Any]
Column = tuple[str, str]
"""Metric and direction; the direction may be "average"."""

BETTER, WORSE = "†", "‡"


@dataclass(frozen=True)
class Cell:
    """One number of the table: mean over seeds, in points; std is None for a single seed.

    mark: † or ‡ if it differs from the baseline with p < 0.05 in every seed, else empty.
    best: whether no student has a better one in this column (as printed, so ties share it).
    """

    mean: float | None = None
    std: float | None = None
    mark: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One system; `gap` is the share of the teacher's lead over sft that it closed (a fraction)."""

    system: str
    objective: str | None
    cells: dict[Column, Cell] = field(default_factory=dict)
    gap: float | None = None
    gap_reason: str | None = None


def names_of_test_sets(results: Results) -> list[str]:
    """Names of the test sets that have scores."""
    return list(dict.fromkeys(row["test_set"] for row in results.get("scores") or []))


def systems(results: Results) -> list[str]:
    """Every system: teacher, sft, then the others in the recipe's order."""
    objectives = objectives_of(results)
    names = dict.fromkeys([*objectives, *(row["system"] for row in results.get("scores") or [])])

    def rank(name: str) -> int:
        return 0 if name == "teacher" else 1 if (objectives.get(name) or name) == "sft" else 2

    return sorted(names, key=rank)


def objectives_of(results: Results) -> dict[str, str | None]:
    """System → objective."""
    return {row["system"]: row.get("objective") for row in results.get("systems") or []}


def on_references(results: Results, system: str) -> bool:
    """Whether its training text was the references, so that what was logged of it compares."""
    rows = [row for row in results.get("systems") or [] if row["system"] == system]
    settings = (rows[0].get("settings") or {}) if rows else {}
    return settings.get("text", "reference") == "reference" and not settings.get("on_policy")


def curves_shown(results: Results, most: int = 8) -> list[str]:
    """Students whose curves stand in one figure: trained on the references, and where these are too
    many the plain one, the baseline, what the report is about and those with the best BLEU."""
    names = [n for n in systems(results) if n != "teacher" and on_references(results, n)]
    names = [name for name in names if objectives_of(results).get(name) != "pruned"]
    test_set = (names_of_test_sets(results) or [""])[0]
    first = [plain_student(results), results.get("baseline"), focus_system(results)]
    ranked = sorted(names, key=lambda name: -(mean_score(results, name, test_set) or 0.0))
    kept = list(dict.fromkeys(name for name in (*first, *ranked) if name in names))[:most]
    return [name for name in names if name in kept]


def plain_student(results: Results) -> str | None:
    """The student that was trained without a teacher."""
    objectives = objectives_of(results)
    named = [name for name in systems(results) if (objectives.get(name) or name) == "sft"]
    return next((name for name in named if name != "teacher"), None)


def focus_system(results: Results) -> str | None:
    """The distilled student that the report is about.

    Self-evolution if it took part; else the distilled student with the best average BLEU.
    """
    objectives = objectives_of(results)
    names = [
        name
        for name in systems(results)
        if name != "teacher" and (objectives.get(name) or name) != "sft"
    ]
    for name in names:
        if (objectives.get(name) or name) == "self_evolution":
            return name
    chosen = (names_of_test_sets(results) or [""])[0]
    scored = [(mean_score(results, name, chosen), name) for name in names]
    ranked = [(score, name) for score, name in scored if score is not None]
    return max(ranked, key=lambda pair: pair[0])[1] if ranked else next(iter(names), None)


def columns(results: Results, test_set: str) -> list[Column]:
    """Metric by metric: each direction, and the average where there are several directions."""
    rows = [
        row
        for row in results.get("scores") or []
        if row["test_set"] == test_set and row["metric"] != BLEU_VS_TEACHER
    ]
    present = {row["direction"] for row in rows}
    directions = [name for name in results.get("directions") or [] if name in present]
    directions += sorted(present - set(directions))
    if len(directions) > 1:
        directions.append(AVERAGE)
    metrics = dict.fromkeys(row["metric"] for row in rows)
    return [(metric, direction) for metric in metrics for direction in directions]


def overall(results: Results, test_set: str) -> str:
    """The direction that stands for all of them: "average", or the only one there is."""
    found = [direction for _, direction in columns(results, test_set)]
    return found[-1] if found else AVERAGE


def mean_score(
    results: Results, system: str, test_set: str, metric: str = "bleu", direction: str | None = None
) -> float | None:
    """Mean over seeds, in points; of all directions unless one is named."""
    found = _summary(results, system, test_set, (metric, direction or overall(results, test_set)))
    return found.mean


def gap_closed(results: Results, system: str, test_set: str) -> tuple[float | None, str | None]:
    """Share of the teacher's lead in BLEU that a system closed, and why it is None if it is."""
    wanted = (system, test_set, overall(results, test_set), "bleu")
    found = [
        row
        for row in results.get("gap_closed") or []
        if (row["system"], row["test_set"], row["direction"], row["metric"]) == wanted
    ]
    # the row without a seed is made of mean scores: a ratio of means, not a mean of ratios
    for row in sorted(found, key=lambda row: row.get("seed") is not None):
        return row["value"], row.get("reason")
    return None, None


def main_table(results: Results, test_set: str | None = None) -> list[Row]:
    """The study's main table on one test set (default: the first), row by row.

    Columns are those of `columns`. Nothing scored gives no rows.
    """
    names = names_of_test_sets(results)
    if test_set is None:
        if not names:
            return []
        test_set = names[0]
    wanted = columns(results, test_set)
    objectives = objectives_of(results)
    numbers = {
        (name, column): _summary(results, name, test_set, column)
        for name in systems(results)
        for column in wanted
    }
    best = {
        column: _best(
            column[0],
            [numbers[name, column].mean for name in systems(results) if name != "teacher"],
        )
        for column in wanted
    }
    rows = []
    for name in systems(results):
        cells = {}
        for column in wanted:
            cell = numbers[name, column]
            is_best = name != "teacher" and cell.mean is not None and _same(cell.mean, best[column])
            mark = _mark(results, name, test_set, column)
            cells[column] = Cell(cell.mean, cell.std, mark, is_best)
        gap, reason = gap_closed(results, name, test_set)
        rows.append(Row(name, objectives.get(name), cells, gap, reason))
    return rows


def comparisons_of(
    results: Results, system: str, test_set: str, metric: str, direction: str | None = None
) -> list[dict[str, Any]]:
    """A system's comparisons with the baseline: one per seed and direction."""
    return [
        row
        for row in results.get("comparisons") or []
        if row["system"] == system
        and row["test_set"] == test_set
        and row["metric"] == metric
        and direction in (None, row["direction"])
        and row.get("delta") is not None
        and row.get("p_value") is not None
    ]


def is_significant(comparison: dict[str, Any]) -> bool:
    """p < 0.05, as the comparison says itself or by its p value."""
    return bool(comparison.get("significant", comparison["p_value"] < 0.05))


def _summary(results: Results, system: str, test_set: str, column: Column) -> Cell:
    wanted = (system, test_set, *column)
    for row in results.get("summary") or []:
        if (row["system"], row["test_set"], row["metric"], row["direction"]) == wanted:
            return Cell(row["mean"], row["std"] if (row.get("seeds") or 1) > 1 else None)
    scores = [
        row["score"]
        for row in results.get("scores") or []
        if (row["system"], row["test_set"], row["metric"], row["direction"]) == wanted
    ]
    if not scores:
        return Cell()
    return Cell(statistics.fmean(scores), statistics.stdev(scores) if len(scores) > 1 else None)


def _best(metric: str, means: Sequence[float | None]) -> float | None:
    found = [mean for mean in means if mean is not None]
    if not found:
        return None
    return min(found) if describe(metric).lower_is_better else max(found)


def _same(mean: float, best: float | None) -> bool:
    """Equal as printed: the second decimal is all that a reader sees."""
    return best is not None and math.isclose(round(mean, 2), round(best, 2), abs_tol=1e-9)


def _mark(results: Results, system: str, test_set: str, column: Column) -> str:
    metric, direction = column
    found = comparisons_of(results, system, test_set, metric, direction)
    if not found or not all(is_significant(row) for row in found):
        return ""
    sign = -1 if describe(metric).lower_is_better else 1
    if all(sign * row["delta"] > 0 for row in found):
        return BETTER
    return WORSE if all(sign * row["delta"] < 0 for row in found) else ""
