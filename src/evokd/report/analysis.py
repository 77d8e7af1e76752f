"""What was measured of each system beside its scores: one table, as text and as Markdown.

BLEU at several beam sizes    how much is left for a search to find
perplexity                    of the references, per token
mode mass                     probability of a system's own best translation
drafts taken                  share of the student's words that its teacher would have said
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tabulate import tabulate

from evokd.report.formatting import count, decimal, percent
from evokd.report.results import Results, mean_of
from evokd.report.tables import markdown_table


@dataclass(frozen=True)
class AnalysisTable:
    """One row a system, teacher first; means over directions and seeds. legend: what the columns
    mean, a line each."""

    headings: list[str]
    rows: list[list[str]]
    legend: list[str]


def analysis_table(results: Results) -> AnalysisTable | None:
    """The columns that anything was measured for; None where nothing was."""
    columns: dict[str, list[str]] = {}
    legend: list[str] = []

    def measured(key: str, heading: str, meaning: str, text: Callable[[float | None], str]) -> None:
        values = {
            name: mean_of(record.get(key) for record in records)
            for name, records in results.analysis.items()
        }
        if any(value is not None for value in values.values()):
            columns[heading] = [text(values.get(name)) for name in results.systems]
            legend.append(f"{heading}: {meaning}")

    measured("nonzero_parameters", "weights", "those that aren't 0", count)
    for beam in _beams(results):
        bleu = [decimal(_bleu(results, name, beam), 1) for name in results.systems]
        columns[f"BLEU beam {beam}"] = bleu
    if any(heading.startswith("BLEU") for heading in columns):
        test_set = next(iter(results.columns), "")
        legend.insert(0, f"BLEU on {test_set}, {results.overall(test_set)}")
    measured(
        *("perplexity", "perplexity", "of the references, per token"),
        lambda value: decimal(value, 2),
    )
    measured(
        *(
            "mode_mass",
            "mode mass",
            "probability that a system gives its own best known translation",
        ),
        percent,
    )
    measured(
        "acceptance",
        "drafts taken",
        "share of a student's proposed tokens that its teacher would have said (speculative "
        "decoding, greedy)",
        percent,
    )
    if not columns:
        return None
    rows = [list(row) for row in zip(results.systems, *columns.values(), strict=True)]
    return AnalysisTable(["system", *columns], rows, legend)


def as_text(results: Results) -> str:
    """For the terminal; nothing where nothing was measured."""
    table = analysis_table(results)
    if table is None:
        return ""
    grid = tabulate(
        table.rows,
        headers=[heading.replace(" ", "\n", 1) for heading in table.headings],
        disable_numparse=True,
        colalign=["left", *("right" for _ in table.headings[1:])],
    )
    return "\n".join([grid, "", *table.legend])


def as_markdown(results: Results) -> str:
    """The same as a Markdown table."""
    table = analysis_table(results)
    if table is None:
        return ""
    lines = [
        markdown_table(table.headings, table.rows),
        "",
        *(f"- {line}" for line in table.legend),
    ]
    return "\n".join(["### Beside the scores", "", *lines]) + "\n"


def _beams(results: Results) -> list[int]:
    """All beam sizes, that of the scores among them where others were tried."""
    records = [record for own in results.analysis.values() for record in own]
    further = {cell["beam"] for record in records for cell in record.get("beams") or []}
    scored = {record["beam"] for own in results.speed.values() for record in own} if further else ()
    return sorted(further.union(scored))


def _bleu(results: Results, system: str, beam: int) -> float | None:
    """On the first test set."""
    test_set = next(iter(results.columns), "")
    cells = [
        cell for record in results.analysis.get(system, []) for cell in record.get("beams") or []
    ]
    own = [
        cell.get("bleu") for cell in cells if (cell["beam"], cell["test_set"]) == (beam, test_set)
    ]
    if own:
        return mean_of(own)
    scored = {record["beam"] for record in results.speed.get(system, [])}
    return results.bleu(system) if scored == {beam} else None
