"""The figures of the page: what the numbers look like. A figure without data is None."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from evokd.recipe.metrics import AVERAGE, BLEU_VS_TEACHER, describe
from evokd.report.breakdown import breakdown_figures
from evokd.report.exports import of_study, shipping_figures
from evokd.report.formatting import arrow
from evokd.report.frontier import frontier_figures
from evokd.report.results import Record, Results
from evokd.report.svg import (
    DASHES,
    FAINT,
    GRID,
    HEIGHT,
    INK,
    Palette,
    draw_svg,
    legend_height,
    make_palette,
    series,
    tidy,
)
from evokd.report.sweeps import sweep_figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Run = Sequence[Record]
"""The lines of one metrics.jsonl."""
Curves = Mapping[str, Sequence[Run]]
"""System → its runs, one per seed."""
FEW_GAMMAS = 3  # whose labels don't run into each other
SMOOTHING = 0.05
"""Width of the running mean, as a share of the training."""


def report_figures(results: Results) -> list[dict[str, str]]:
    """Those figures that there are data for: title, svg and caption."""
    spread = "Bars: ± one standard deviation over seeds." if len(results.seeds) > 1 else ""
    guides = [name for name in ("teacher", results.plain_student) if name in results.systems]
    lines = f"Dotted lines: {' and '.join(guides)}." if guides else ""
    figures: list[tuple[str | None, str, str]] = []
    for test_set in results.columns:
        where = f", {test_set}" if len(results.columns) > 1 else ""
        bleu, likeness = (score_dots(results, test_set, one) for one in ("bleu", BLEU_VS_TEACHER))
        caption = f"BLEU with the teacher’s output as the reference. {spread}"
        figures += [
            (bleu, f"{describe('bleu').label} by direction{where}", f"{lines} {spread}"),
            (likeness, f"Likeness to the teacher{where}", caption),
        ]
    known = {name: results.bleu(name) for name in guides}
    bleu_of = {name: bleu for name, bleu in known.items() if bleu is not None}
    shipped = shipping_figures(of_study(results), bleu_of)
    figures += [(svg, title, f"A dot for each export. {lines}") for title, svg in shipped.items()]
    figures += [*frontier_figures(results), *sweep_figures(results), *breakdown_figures(results)]
    shown, palette = results.with_curves, make_palette(results.systems)
    few = "" if len(shown) == len(results.students) else f" Shown: {', '.join(shown)}."
    curves = {name: runs for name, runs in results.curves.items() if name in shown}
    diagnostics = {
        name: records for name, records in results.diagnostics.items() if name in ("start", *shown)
    }
    focus = results.focus or ""
    figures += [
        (
            loss_curves(curves, palette),
            "The common loss",
            "Divergence of the student from the mix of teacher and reference, the same quantity "
            f"for all methods; running mean over 5 % of the training.{few}",
        ),
        (
            difficulty_histogram(diagnostics, palette),
            "Difficulty of validation tokens",
            f"Grey: the students’ common start. Beyond Γ a token is hard.{few}",
        ),
        (
            hard_share_curves(curves, palette),
            "Share of hard tokens",
            "Tokens of a batch with a difficulty above Γ; running mean over 5 % of the training."
            f"{few}",
        ),
        (
            hard_weight_curves(focus, results.curves.get(focus, [])),
            f"What hard tokens weigh in {focus}",
            "Their share of the tokens, of the loss and of the gradient.",
        ),
    ]
    return [
        {"svg": Markup(svg), "title": title, "caption": caption}
        for svg, title, caption in figures
        if svg is not None
    ]


def loss_curves(curves: Curves, palette: Palette) -> str | None:
    """The common loss, mean KL(ỹ‖q) in nats per response token, over optimizer steps."""
    lines = _lines_of_systems(curves, palette, "noevo_loss")
    return _curve_figure("loss", "Common loss over steps", lines, "KL(ỹ‖q), nats per token")


def hard_share_curves(curves: Curves, palette: Palette) -> str | None:
    """Share of response tokens with a difficulty above Γ, over optimizer steps."""
    lines = _lines_of_systems(curves, palette, "hard_share")
    label = "Share of hard tokens over steps"
    return _curve_figure("hard-share", label, lines, "hard tokens, %", percent_up_to=100)


def hard_weight_curves(system: str, runs: Sequence[Run]) -> str | None:
    """What share of one system's tokens, loss and gradient is that of hard tokens."""
    styles = {
        "hard_share": ("tokens", FAINT, "solid"),
        "loss_share_hard": ("loss", "#0072B2", (0, (4, 2))),
        "grad_share_hard": ("gradient", "#D55E00", (0, (1, 1.2))),
    }
    lines = [
        _Line(name, _series(runs, key), {"color": colour, "linestyle": dashes, "linewidth": 2})
        for key, (name, colour, dashes) in styles.items()
    ]
    if not any(line.series for line in lines[1:]):
        return None
    label, ylabel = f"{system}: weight of hard tokens", "share of hard tokens, %"
    return _curve_figure("hard-weight", label, lines, ylabel, percent_up_to=103)


def difficulty_histogram(
    diagnostics: Mapping[str, Sequence[Record]], palette: Palette
) -> str | None:
    """How difficult validation tokens are: name ("start", systems) → diagnostics of each seed.

    Shares of tokens; seeds are summed. Everything beyond the last finite edge is in the last bin.
    """
    shares = {name: _histogram(records) for name, records in diagnostics.items()}
    filled = {name: share for name, share in shares.items() if share is not None}
    if not filled:
        return None
    gammas = {d["gamma"] for records in diagnostics.values() for d in records if d.get("gamma")}

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for name, (edges, values) in filled.items():
            style: dict[str, Any] = {"color": "#dfe2e6", "fill": True}
            if name != "start":
                dashes = DASHES.get(name, "solid")
                style = {"color": palette[name], "linestyle": dashes, "linewidth": 1.6}
            axes.stairs(values, edges, label=name, gid=series(name), **style)
        edges = next(iter(filled.values()))[0]
        within = sorted(gamma for gamma in gammas if gamma <= edges[-2])
        for gamma in within:
            axes.axvline(gamma, color=INK, linewidth=1, linestyle=(0, (2, 2)))
            place, text = axes.get_xaxis_transform(), f"\u00a0Γ = {gamma:g}"
            if len(within) <= FEW_GAMMAS:
                axes.text(gamma, 0.98, text, transform=place, va="top")
        _label_overflow(axes, edges)
        axes.locator_params(axis="y", nbins=6, integer=True)
        axes.set_xlabel("difficulty d, nats")
        axes.set_ylabel("tokens, %")
        tidy(axes, len(filled))

    height = HEIGHT + legend_height(filled)
    return draw_svg("difficulty", "Difficulty of validation tokens", draw, height)


def score_dots(results: Results, test_set: str, metric: str = "bleu") -> str | None:
    """Every system's score by direction, a dot each; bars are ± one deviation over seeds.

    With one seed the bars are the 95 % bootstrap interval, if the comparisons tell it.
    """
    columns = [one for _, one in results.columns.get(test_set, []) if one != AVERAGE]
    points: dict[tuple[str, str], tuple[float, float | None]] = {}
    for name in results.systems:
        for direction in columns:
            cell = results.cell(name, test_set, (metric, direction))
            if cell.mean is not None:
                spread = cell.interval if cell.std is None else cell.std
                points[name, direction] = (cell.mean, spread)
    if not points:
        return None
    names = list(dict.fromkeys(name for name, _ in points))
    scored = {direction for _, direction in points}
    directions = [one for one in dict.fromkeys(columns) if one in scored]
    palette = make_palette(results.systems)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(down, across, sharey=True, squeeze=False).flat
        for axes, direction in zip(panels, directions, strict=False):
            for name in ("teacher", results.plain_student):
                if name and (name, direction) in points:
                    value = points[name, direction][0]
                    axes.axvline(value, color=palette[name], linewidth=0.9, linestyle=(0, (1, 2)))
            for y, name in enumerate(names):
                if (name, direction) in points:
                    _draw_dot(axes, y, *points[name, direction], palette[name])
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(len(names) - 0.4, -0.75)
            axes.margins(x=0.18)
            axes.set_title(arrow(direction), fontsize=10, color=INK, loc="left")
            tidy(axes, 0)
            axes.grid(False)
            axes.grid(axis="x", color=GRID, linewidth=0.8)
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="x", nbins=4)
        for axes in list(figure.axes)[len(directions) :]:
            axes.set_visible(False)

    across = min(2, len(directions))
    down = -(-len(directions) // across)
    better = "lower is better" if describe(metric).lower_is_better else "higher is better"
    label = f"{metric} by direction, {better}"
    return draw_svg(f"scores-{metric}-{test_set}", label, draw, down * (0.75 + 0.3 * len(names)))


def _draw_dot(axes: Axes, y: int, value: float, spread: float | None, colour: str) -> None:
    axes.errorbar(
        value, y, xerr=spread, fmt="o", color=colour, markersize=6, elinewidth=1.6, capsize=0
    )
    axes.annotate(
        f"{value:.1f}",
        (value, y),
        (0, 5.5),
        textcoords="offset points",
        ha="center",
        fontsize=9,
        color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        zorder=1.5,
    )


class _Line(NamedTuple):
    label: str
    series: list[tuple[tuple[float, ...], ...]]
    """Steps and values of each run."""
    style: dict[str, Any]


def _lines_of_systems(curves: Curves, palette: Palette, key: str) -> list[_Line]:
    lines = []
    for name, runs in curves.items():
        style = {"color": palette[name], "linestyle": DASHES.get(name, "solid")}
        width = 2.2 if name == "self_evolution" else 1.6
        lines.append(_Line(name, _series(runs, key), style | {"linewidth": width}))
    return lines


def _series(runs: Sequence[Run], key: str) -> list[tuple[tuple[float, ...], ...]]:
    """Steps and values of each run that has two or more, so a line; validations have none."""
    points = [[(one.get("step"), one.get(key)) for one in run] for run in runs]
    known = [[point for point in run if None not in point] for run in points]
    return [tuple(zip(*run, strict=True)) for run in known if len(run) > 1]


def _curve_figure(
    name: str, label: str, lines: Iterable[_Line], ylabel: str, percent_up_to: float | None = None
) -> str | None:
    drawn = [line for line in lines if line.series]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for line in drawn:
            _draw_line(axes, line, 1 if percent_up_to is None else 100)
        axes.set_ylabel(ylabel)
        if percent_up_to is not None:
            axes.set_ylim(0, percent_up_to)
        axes.set_xlabel("optimizer steps")
        axes.set_xlim(left=0)
        tidy(axes, len(drawn))

    height = HEIGHT + legend_height(line.label for line in drawn)
    return draw_svg(name, label, draw, height) if drawn else None


def _draw_line(axes: Axes, line: _Line, scale: float) -> None:
    """The smoothed mean over seeds as a line, and the seeds' range as a band."""
    import numpy as np

    # seeds may have been logged at different steps: compare them where all of them are known
    grid = np.array(min((steps for steps, _ in line.series), key=lambda steps: steps[-1]))
    seeds = [scale * np.interp(grid, steps, _smoothed(values)) for steps, values in line.series]
    named = {"color": line.style["color"], "gid": series(line.label)}
    if len(seeds) > 1:
        low, high = np.min(seeds, axis=0), np.max(seeds, axis=0)
        axes.fill_between(grid, low, high, alpha=0.14, linewidth=0, **named)
    axes.plot(grid, np.mean(seeds, axis=0), label=line.label, **line.style | named)


def _smoothed(values: Sequence[float]) -> Any:
    """Running mean over 5 % of the points, centred; at the ends, over those that are there."""
    import numpy as np

    reach = int(SMOOTHING * len(values) / 2)
    return np.array(
        [np.mean(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))]
    )


def _histogram(records: Sequence[Record]) -> tuple[list[float], list[float]] | None:
    """Finite edges (the open end one bin wide) and per cent of tokens in each bin."""
    histograms = [d["histogram"] for d in records if (d.get("histogram") or {}).get("counts")]
    if not histograms:
        return None
    edges = [edge for edge in histograms[0]["edges"] if edge is not None]
    same = [h["counts"] for h in histograms if len(h["counts"]) == len(histograms[0]["counts"])]
    counts = [sum(column) for column in zip(*same, strict=True)]
    if len(counts) == len(edges):
        edges.append(2 * edges[-1] - edges[-2])
    total = sum(counts)
    return (edges, [100 * count / total for count in counts]) if total else None


def _label_overflow(axes: Axes, edges: Sequence[float]) -> None:
    """The last bin holds everything beyond: say so under it."""
    last = edges[-2]
    step = next((s for s in (0.1, 0.2, 0.5, 1, 2, 5) if last / s <= 6), 10)
    ticks = [step * i for i in range(int(last / step) + 1) if step * i < last - step / 2]
    labels = [f"{tick:g}" for tick in ticks]
    axes.set_xticks([*ticks, (last + edges[-1]) / 2], [*labels, f"> {last:g}"])
    axes.set_xlim(edges[0], edges[-1] + 0.01 * last)
