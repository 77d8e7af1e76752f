"""What a sweep found: scores over the settings that were swept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evokd.recipe.objectives import ObjectiveSettings
from evokd.report.formatting import decimal
from evokd.report.results import BETTER, WORSE, Results
from evokd.report.svg import (
    FAINT,
    HEIGHT,
    INK,
    SPARE_COLOURS,
    draw_svg,
    legend_height,
    make_palette,
    series,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAR = 16.0
"""Ratio of the largest value to the smallest from which an axis is logarithmic."""
MOST_LINES = 6


@dataclass(frozen=True)
class Sweep:
    """One method at several settings: name of each student → its values, by key."""

    of: str
    points: dict[str, dict[str, Any]]

    @property
    def keys(self) -> list[str]:
        """The keys that differ among the points."""
        keys = list(next(iter(self.points.values())))
        every = [key for key in keys if len({str(at[key]) for at in self.points.values()}) > 1]
        return every or keys[:1]

    def lines(self) -> dict[str, list[tuple[Any, str]]]:
        """What all but the first key are set to, in words → value of the first key and student."""
        first, *others = self.keys
        lines: dict[str, list[tuple[Any, str]]] = {}
        for name, at in self.points.items():
            label = ", ".join(f"{symbol(key)} = {at[key]}" for key in others)
            lines.setdefault(label, []).append((at[first], name))
        return lines


def sweeps_of(results: Results) -> list[Sweep]:
    """The sweeps of a study, in the recipe's order; pruned students don't count."""
    found: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}
    for name in results.students:
        swept = results.settings(name).get("swept")
        if swept and results.objective(name) != "pruned":
            found.setdefault((swept["of"], *swept["at"]), {})[name] = swept["at"]
    return [Sweep(of, points) for (of, *_), points in found.items() if len(points) > 1]


def sweep_figures(results: Results) -> list[tuple[str | None, str, str]]:
    """For each sweep and test set: figure, title and caption."""
    figures = []
    for number, sweep in enumerate(sweeps_of(results)):
        for test_set in results.columns:
            where = f", {test_set}" if len(results.columns) > 1 else ""
            title = f"{sweep.of} over {' and '.join(map(symbol, sweep.keys))}{where}"
            svg = sweep_curve(results, sweep, test_set, f"sweep-{number}-{test_set}")
            figures.append((svg, title, _caption(results, sweep, test_set)))
    return figures


def sweep_curve(results: Results, sweep: Sweep, test_set: str, name: str) -> str | None:
    """Average BLEU over the first key, a line for each setting of the others."""
    column = ("bleu", results.overall(test_set))
    cells = {name: results.cell(name, test_set, column) for name in sweep.points}
    scored = {name for name, cell in cells.items() if cell.mean is not None}
    if len(scored) < 2:
        return None
    places = _places([value for line in sweep.lines().values() for value, _ in line])
    best = results.best_on_validation(list(sweep.points))
    palette = make_palette(results.systems)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for guide in _guides(results, sweep):
            value = results.cell(guide, test_set, column).mean
            if value is not None:
                axes.axhline(value, color=palette[guide], linewidth=1, linestyle=(0, (1, 2)))
                beside = axes.get_yaxis_transform()
                axes.text(
                    1.01, value, guide, transform=beside, color=FAINT, fontsize=8, va="center"
                )
        lines = list(sweep.lines().items())[:MOST_LINES]
        for (label, points), colour in zip(lines, SPARE_COLOURS, strict=False):
            known = sorted((places[str(x)], name) for x, name in points if name in scored)
            means = [cells[name].mean or 0.0 for _, name in known]
            spreads = [cells[name].std or cells[name].interval or 0.0 for _, name in known]
            style: dict[str, Any] = {"color": colour, "linewidth": 1.6, "capsize": 2, "fmt": "o-"}
            drawn = axes.errorbar([x for x, _ in known], means, spreads, label=label, **style)
            for part in drawn.get_children():
                part.set_gid(series(label))
            for (x, name), mean in zip(known, means, strict=True):
                text = significance(results, name, test_set) + (" best" if name == best else "")
                over: dict[str, Any] = {"textcoords": "offset points", "ha": "center"}
                axes.annotate(text.strip(), (x, mean), (0, 7), color=INK, fontsize=9, **over)
        _scale(axes, places)
        axes.set_xlabel(symbol(sweep.keys[0]))
        axes.set_ylabel("BLEU")
        axes.margins(y=0.15)
        tidy(axes, len(lines) if len(lines) > 1 else 0)

    height = HEIGHT + (legend_height(sweep.lines()) if len(sweep.lines()) > 1 else 0)
    return draw_svg(name, f"BLEU of {sweep.of} over {', '.join(sweep.keys)}", draw, height)


def significance(results: Results, system: str, test_set: str) -> str:
    """† or ‡ if it differs from the baseline alike in all directions and seeds."""
    marks = {
        results.cell(system, test_set, ("bleu", direction)).mark
        for metric, direction in results.columns[test_set]
        if metric == "bleu" and (system, test_set, "bleu", direction) in results.comparisons
    }
    return marks.pop() if len(marks) == 1 else ""


def symbol(key: str) -> str:
    """Γ for gamma; the last part of training.learning_rate, in words."""
    field = ObjectiveSettings.model_fields.get(key)
    return (field.title if field else None) or key.rpartition(".")[2].replace("_", " ")


def _guides(results: Results, sweep: Sweep) -> list[str]:
    """Systems beside the sweep whose scores are drawn as lines."""
    guides = dict.fromkeys(["teacher", results.plain_student, results.baseline, sweep.of])
    return [one for one in guides if one in results.systems and one not in sweep.points]


def _caption(results: Results, sweep: Sweep, test_set: str) -> str:
    bars = "± one standard deviation over seeds" if len(results.seeds) > 1 else "95 % intervals"
    marks = {significance(results, name, test_set) for name in sweep.points} - {""}
    words = {BETTER: "better", WORSE: "worse"}
    parts = [f"Average BLEU; bars: {bars}."]
    if marks:
        said = ", ".join(f"{mark} {words[mark]}" for mark in sorted(marks))
        parts.append(
            f"{said} than {results.baseline} with p < 0.05 in every direction and "
            f"{'all seeds pooled' if results.tests is results.pooled else 'every seed'}."
        )
    elif results.comparisons:
        parts.append(f"None differs from {results.baseline} in every direction and seed.")
    best = results.best_on_validation(list(sweep.points))
    if best is not None:
        score = results.validated(best)
        known = "" if score is None else f" ({decimal(score, 1)} BLEU there)"
        parts.append(f"Best on validation: {best}{known}.")
    hidden = len(sweep.lines()) - MOST_LINES
    if hidden > 0:
        parts.append(f"{hidden} more lines aren't drawn; the table has them.")
    return " ".join(parts)


def _places(values: Sequence[Any]) -> dict[str, float]:
    """Where each value stands on the axis: numbers where they are, other things side by side."""
    numbers = {str(value): value for value in values}
    if all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in values):
        return {text: float(value) for text, value in numbers.items()}
    return {text: float(place) for place, text in enumerate(numbers)}


def _scale(axes: Any, places: dict[str, float]) -> None:
    at = sorted(set(places.values()))
    if at[0] > 0 and at[-1] / at[0] >= FAR:
        axes.set_xscale("log")
    labels = {place: text for text, place in places.items()}
    axes.set_xticks(at, [labels[place] for place in at], rotation=40 if len(at) > 6 else 0)
    axes.minorticks_off()
