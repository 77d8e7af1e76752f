"""Quality against what it costs: each system a dot, and the line of those that none beats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from evokd.recipe.metrics import describe
from evokd.report.formatting import count, duration, whole
from evokd.report.results import Results, mean_of
from evokd.report.svg import FAINT, HEIGHT, INK, draw_svg, legend_height, make_palette, series, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Point = tuple[str, float, float]
"""System, cost, quality."""
APART = 1.5
"""Ratio of two values from which both have room on a logarithmic axis."""
NAME = 3.0
"""The same of two systems' names."""


def frontier_figures(results: Results) -> list[tuple[str | None, str, str]]:
    """Figure, title and caption: average BLEU over speed, size and training time."""

    def of_runs(key: str) -> dict[str, float | None]:
        return {n: mean_of(run.get(key) for run in runs) for n, runs in results.runs.items()}

    costs: list[tuple[str, str, dict[str, float | None], bool, Callable[[float], str]]] = [
        ("speed", "source words per second", results.words_per_s, True, whole),
        ("parameters", "parameters", of_runs("parameters"), False, count),
        ("training time", "training time", of_runs("train_seconds"), False, duration),
    ]
    caption = "Average BLEU on the first test set; line: no other system is both better and {}."
    words = {"speed": "faster", "parameters": "smaller", "training time": "sooner trained"}
    return [
        (
            _figure(results, f"frontier-{name.split()[0]}", unit, values, rising, written),
            f"Quality against {name}",
            caption.format(words[name]),
        )
        for name, unit, values, rising, written in costs
    ]


def frontier(points: Iterable[Point], rising: bool) -> list[Point]:
    """Those that no other is as good as at less cost (rising: more of it is better), cheapest
    first; of equal ones, the first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda one: (-one[1] if rising else one[1], -one[2])):
        if not best or point[2] > best[-1][2]:
            best.append(point)
    return best


def log_ticks(axes: Any, values: Iterable[float], written: Callable[[float], str]) -> None:
    """A logarithmic axis whose ticks are the values themselves, as far as they are apart."""
    apart: list[float] = []
    for value in sorted(values):
        if not apart or value > APART * apart[-1]:
            apart.append(value)
    axes.set_xscale("log")
    axes.set_xticks(apart, [written(value) for value in apart])
    axes.minorticks_off()


def _apart(points: Sequence[Point]) -> list[Point]:
    """The best, and of the others those that have room for a name."""
    apart: list[Point] = []
    heights = [quality for _, _, quality in points]
    room = (max(heights) - min(heights)) / 15
    for point in sorted(points, key=lambda one: -one[2]):
        near = (
            abs(one[2] - point[2]) < room and 1 / NAME < one[1] / point[1] < NAME for one in apart
        )
        if not any(near):
            apart.append(point)
    return apart


def _figure(
    results: Results,
    name: str,
    unit: str,
    costs: dict[str, float | None],
    rising: bool,
    written: Callable[[float], str],
) -> str | None:
    known = ((system, costs.get(system), results.bleu(system)) for system in results.systems)
    points = [(system, cost, bleu) for system, cost, bleu in known if cost and bleu is not None]
    if len({cost for _, cost, _ in points}) < 2:
        return None
    palette = make_palette(results.systems)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        best = frontier(points, rising)
        costs, scores = zip(*[one[1:] for one in best], strict=True)
        axes.plot(costs, scores, color=FAINT, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
        for system, cost, bleu in points:
            style: dict[str, Any] = {"color": palette[system], "gid": series(system)}
            axes.plot(cost, bleu, "o", label=system, markersize=6, **style)
        for system, cost, bleu in _apart(best):
            over: dict[str, Any] = {"xytext": (7, -3), "textcoords": "offset points"}
            axes.annotate(system, (cost, bleu), fontsize=9, color=INK, **over)
        log_ticks(axes, (cost for _, cost, _ in points), written)
        axes.margins(x=0.18, y=0.12)
        axes.set_xlabel(unit)
        axes.set_ylabel(describe("bleu").label)
        tidy(axes, len(points))

    height = HEIGHT + legend_height(system for system, _, _ in points)
    return draw_svg(name, f"BLEU against {unit}", draw, height)
