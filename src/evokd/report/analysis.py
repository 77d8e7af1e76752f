"""What was measured of each system beside its scores: one table, as text and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from evokd.report.formatting import count, decimal, percent
from evokd.report.results import Results, mean_of
from evokd.report.tables import Grid, grid_markdown, plain_table

Measure = tuple[str, str, str, Callable[[float | None], str]]
"""Key of the record, heading, what it means, and how a number of it is written."""
MEASURES: list[Measure] = [
    ("nonzero_parameters", "weights", "those that aren't 0", count),
    ("perplexity", "perplexity", "of the references, per token", partial(decimal, places=2)),
    ("mode_mass", "mode mass", "probability of a system's own best known translation", percent),
    ("acceptance", "acceptance rate", "share of a draft that the teacher accepts, greedy", percent),
]


def analysis_table(results: Results) -> Grid:
    """A row for each system, a column for all that was measured; means over directions and
    seeds."""
    bleu = {
        f"BLEU beam {beam}": [decimal(scores.get(name), 1) for name in results.systems]
        for beam, scores in _bleu_by_beam(results).items()
    }
    columns = _measured(results, MEASURES[:1]) | bleu | _measured(results, MEASURES[1:])
    test_set = next(iter(results.columns), "")
    legend = [f"BLEU on {test_set}, {results.overall(test_set)}"] if bleu else []
    legend += [f"{heading}: {meaning}" for _, heading, meaning, _ in MEASURES if heading in columns]
    rows = [list(row) for row in zip(results.systems, *columns.values(), strict=True)]
    return Grid(["system", *columns], {"": rows} if columns else {}, legend)


def as_text(results: Results) -> str:
    """For the terminal; nothing where nothing was measured."""
    table = analysis_table(results)
    if not table:
        return ""
    return "\n".join([plain_table(table.headings, table.groups[""]), "", *table.legend])


def as_markdown(results: Results) -> str:
    """The same as a Markdown table."""
    return grid_markdown("Beside the scores", analysis_table(results))


def _measured(results: Results, measures: Sequence[Measure]) -> dict[str, list[str]]:
    """Heading → a cell for each system."""
    columns = {}
    for key, heading, _, written in measures:
        means = {
            name: mean_of(record.get(key) for record in records)
            for name, records in results.analysis.items()
        }
        if any(mean is not None for mean in means.values()):
            columns[heading] = [written(means.get(name)) for name in results.systems]
    return columns


def _bleu_by_beam(results: Results) -> dict[int, dict[str, float | None]]:
    """Beam size → system → BLEU on the first test set; the beam of the scores among them where
    others were tried."""
    test_set = next(iter(results.columns), "")
    scores: dict[int, dict[str, list[float | None]]] = {}
    for system, records in results.analysis.items():
        for cell in (cell for record in records for cell in record.get("beams") or []):
            own = scores.setdefault(cell["beam"], {}).setdefault(system, [])
            if cell["test_set"] == test_set:
                own.append(cell.get("bleu"))
    for system, records in results.speed.items() if scores else ():
        for beam in {record["beam"] for record in records}:
            scores.setdefault(beam, {}).setdefault(system, [results.bleu(system)])
    return {
        beam: {system: mean_of(own) for system, own in scores[beam].items()}
        for beam in sorted(scores)
    }
