"""What a finished run prints: its tables and what they come to."""

from __future__ import annotations

from pathlib import Path

from evokd.recipe.objectives import ObjectiveSettings
from evokd.report import analysis
from evokd.report.headline import headline
from evokd.report.map import Map
from evokd.report.map_page import lesson
from evokd.report.results import Results
from evokd.report.tables import as_text, examples_text, plain_table


def study_text(results: Results) -> str:
    """Of a study: scores, what was found, some sentences."""
    blocks = [as_text(results), *([analysis.as_text(results)] if results.analysis else [])]
    found = " ".join(headline(results))
    if "hard_share" in results.start:
        hard, gamma = results.start["hard_share"], ObjectiveSettings().gamma
        found += f"\nHard tokens (d > {gamma:g} nats) before distillation: {hard:.0%}."
    return "\n\n".join([*blocks, found, examples_text(results)])


def map_text(folder: Path) -> str:
    """Of a grid: what each method gains over all of it."""
    shown = Map(folder)
    summary = shown.summary()
    return f"{plain_table(summary.headings, summary.groups[''])}\n\n{lesson(shown)}"
