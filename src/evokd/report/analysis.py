"""What was measured of each system beside its scores: one row each, as text and as Markdown.

BLEU at several beam sizes    how much is left for a search to find
perplexity                    of the references, per token
mode mass                     probability of a system's own best translation
drafts taken                  share of the student's words that its teacher would have said
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from tabulate import tabulate

from evokd.report.formatting import count, decimal, percent
from evokd.report.results import Results, mean_score, names_of_test_sets, overall, systems


def headings(results: Results) -> list[str]:
    """The columns that anything was measured for."""
    rows = results.get("analysis") or []
    if not rows:
        return []
    found = ["system"]
    if any(row.get("nonzero_parameters") for row in rows):
        found.append("weights")
    beams = sorted({cell["beam"] for row in rows for cell in row.get("beams") or []})
    found += [f"BLEU beam {beam}" for beam in _beams(results, beams)]
    for key, heading in (
        ("perplexity", "perplexity"),
        ("mode_mass", "mode mass"),
        ("acceptance", "drafts taken"),
    ):
        if any(row.get(key) is not None for row in rows):
            found.append(heading)
    return found


def table(results: Results) -> list[list[str]]:
    """One row a system, teacher first; means over directions and seeds."""
    wanted = headings(results)
    return [[_cell(results, name, heading) for heading in wanted] for name in systems(results)]


def as_text(results: Results) -> str:
    """For the terminal; nothing where nothing was measured."""
    wanted = headings(results)
    if not wanted:
        return ""
    grid = tabulate(
        table(results),
        headers=[heading.replace(" ", "\n", 1) for heading in wanted],
        disable_numparse=True,
        colalign=["left", *("right" for _ in wanted[1:])],
    )
    return "\n".join([grid, "", *legend(results)])


def as_markdown(results: Results) -> str:
    """The same as a Markdown table."""
    wanted = headings(results)
    if not wanted:
        return ""
    lines = ["| " + " | ".join(wanted) + " |", "|:--|" + "--:|" * (len(wanted) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in table(results)]
    notes = [f"- {line}" for line in legend(results)]
    return "\n".join(["### Beside the scores", "", *lines, "", *notes]) + "\n"


def legend(results: Results) -> list[str]:
    """What the columns mean, as far as they are there."""
    wanted = headings(results)
    lines = []
    if any(heading.startswith("BLEU") for heading in wanted):
        test_set = names_of_test_sets(results)[0]
        lines.append(f"BLEU on {test_set}, {overall(results, test_set)}")
    for heading, meaning in (
        ("weights", "weights: those that aren't 0"),
        ("perplexity", "perplexity: of the references, per token"),
        ("mode mass", "mode mass: probability that a system gives its own best known translation"),
        (
            "drafts taken",
            "drafts taken: share of a student's proposed tokens that its teacher would have said "
            "(speculative decoding, greedy)",
        ),
    ):
        if heading in wanted:
            lines.append(meaning)
    return lines


def _beams(results: Results, analysed: list[int]) -> list[int]:
    """All beam sizes, that of the scores among them where others were tried."""
    if not analysed:
        return []
    return sorted({*analysed, *(row["beam"] for row in results.get("speed") or [])})


def _cell(results: Results, name: str, heading: str) -> str:
    rows = [row for row in results.get("analysis") or [] if row["system"] == name]
    if heading == "system":
        return name
    if heading == "weights":
        return count(_mean(row.get("nonzero_parameters") for row in rows))
    if heading.startswith("BLEU beam"):
        return decimal(_bleu(results, rows, name, int(heading.split()[-1])), 1)
    if heading == "perplexity":
        return decimal(_mean(row.get("perplexity") for row in rows), 2)
    key = "mode_mass" if heading == "mode mass" else "acceptance"
    return percent(_mean(row.get(key) for row in rows))


def _bleu(results: Results, rows: list[Mapping[str, Any]], name: str, beam: int) -> float | None:
    test_set = names_of_test_sets(results)[0]
    cells = [cell for row in rows for cell in row.get("beams") or [] if cell["beam"] == beam]
    own = [cell["bleu"] for cell in cells if cell["test_set"] == test_set]
    if own:
        return statistics.fmean(own)
    decoded = {row["beam"] for row in results.get("speed") or [] if row["system"] == name}
    return mean_score(results, name, test_set) if decoded == {beam} else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
