"""Figures as SVG text: what the numbers look like.

Text stays text (searchable, in the page's own font), no font or file is fetched, and the same data
gives the same bytes. Each system keeps its colour (Okabe and Ito's palette, which colour-blind
readers can tell apart) and its dash pattern in all figures. A figure without data is None.
"""

from __future__ import annotations

import colorsys
import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from evokd.recipe.metrics import AVERAGE, describe
from evokd.report.results import (
    Results,
    columns,
    names_of_test_sets,
    plain_student,
    systems,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Run = Sequence[Mapping[str, Any]]
"""The lines of one metrics.jsonl."""
Curves = Mapping[str, Sequence[Run]]
"""System → its runs, one per seed."""
Paint = Mapping[str, str] | None
"""System → colour; default: `colours` of the systems drawn."""

WIDTH = 4.6
"""Inches; narrow, so that ten-point text is still legible where the page is 400 pixels wide."""
INK, FAINT, GRID = "#23272e", "#6b7280", "#e6e8eb"
PALETTE = {
    "teacher": "#23272e",
    "start": "#9aa0a8",
    "sft": "#7a828c",
    "forward_kd": "#0072B2",
    "reverse_kd": "#CC79A7",
    "noevo": "#56B4E9",
    "skew": "#009E73",
    "skew_teacher": "#8C6D1F",
    "self_evolution": "#D55E00",
    "self_evolution_topk": "#E69F00",
}
SPARE = ("#882255", "#44AA99", "#332288", "#999933", "#AA4499", "#117733")
DASHES = {
    "sft": (0, (1, 1.2)),
    "noevo": (0, (4, 2)),
    "skew": (0, (6, 1.5, 1.5, 1.5)),
    "skew_teacher": (0, (2, 1)),
    "reverse_kd": (0, (5, 1)),
}
SMOOTHING = 0.05
"""Width of the running mean, as a share of the training."""


def colours(names: Sequence[str]) -> dict[str, str]:
    """System → colour: known methods have theirs, others take spare ones in order."""
    others = [name for name in names if name not in PALETTE]
    spare = {
        name: SPARE[i] if i < len(SPARE) else _further(i - len(SPARE))
        for i, name in enumerate(others)
    }
    return {name: PALETTE.get(name) or spare[name] for name in names}


def _further(number: int) -> str:
    """Colours without end, each far from the last: hues a golden angle apart, three depths."""
    red, green, blue = colorsys.hls_to_rgb(
        (0.07 + 0.618034 * number) % 1, (0.38, 0.5, 0.28)[number % 3], 0.6
    )
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def loss_curves(curves: Curves, paint: Paint = None) -> str | None:
    """The common loss, mean KL(ỹ‖q) in nats per response token, over optimizer steps."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _draw_curves(axes, curves, paint, "noevo_loss")
        axes.set_ylabel("KL(ỹ‖q), nats per token")
        _finish_curves(axes, len(curves))

    return _svg("loss", "Common loss over steps", draw) if _has(curves, "noevo_loss") else None


def hard_share_curves(curves: Curves, paint: Paint = None) -> str | None:
    """Share of response tokens with a difficulty above Γ, over optimizer steps."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _draw_curves(axes, curves, paint, "hard_share", scale=100)
        axes.set_ylabel("hard tokens, %")
        axes.set_ylim(0, 100)
        _finish_curves(axes, len(curves))

    label = "Share of hard tokens over steps"
    return _svg("hard-share", label, draw) if _has(curves, "hard_share") else None


def hard_weight_curves(curves: Curves, system: str) -> str | None:
    """What share of one system's tokens, loss and gradient is that of hard tokens."""
    own = {system: curves.get(system, [])}
    parts = {
        "tokens": ("hard_share", FAINT, "solid"),
        "loss": ("loss_share_hard", "#0072B2", (0, (4, 2))),
        "gradient": ("grad_share_hard", "#D55E00", (0, (1, 1.2))),
    }
    present = {label: part for label, part in parts.items() if _has(own, part[0])}

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for label, (key, colour, dashes) in present.items():
            _draw_runs(axes, own[system], key, label, colour, dashes, 2.0, scale=100)
        axes.set_ylabel("share of hard tokens, %")
        axes.set_ylim(0, 103)
        _finish_curves(axes, len(present))

    if "loss" not in present and "gradient" not in present:
        return None
    return _svg("hard-weight", f"{system}: weight of hard tokens", draw)


def difficulty_histogram(
    diagnostics: Mapping[str, Sequence[Mapping[str, Any]]], paint: Paint = None
) -> str | None:
    """How difficult validation tokens are: name ("start", systems) → diagnostics of each seed.

    Shares of tokens; seeds are summed. Everything beyond the last finite edge is in the last bin.
    """
    shares = {name: _histogram(found) for name, found in diagnostics.items()}
    filled = {name: share for name, share in shares.items() if share is not None}
    if not filled:
        return None
    gammas = {d["gamma"] for found in diagnostics.values() for d in found if d.get("gamma")}

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        known = paint or colours(list(filled))
        for name, (edges, values) in filled.items():
            if name == "start":
                axes.stairs(values, edges, fill=True, color="#dfe2e6", label="start")
            else:
                axes.stairs(
                    values,
                    edges,
                    color=known[name],
                    linestyle=DASHES.get(name, "solid"),
                    linewidth=1.6,
                    label=name,
                )
        edges = next(iter(filled.values()))[0]
        for gamma in sorted(gammas):
            axes.axvline(gamma, color=INK, linewidth=1, linestyle=(0, (2, 2)))
            axes.annotate(
                f"Γ = {gamma:g}",
                (gamma, 0.98),
                (4, 0),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                va="top",
            )
        _label_overflow(axes, edges)
        axes.locator_params(axis="y", nbins=6, integer=True)
        axes.set_xlabel("difficulty d, nats")
        axes.set_ylabel("tokens, %")
        _tidy(axes, len(filled))

    return _svg("difficulty", "Difficulty of validation tokens", draw)


def score_dots(results: Results, test_set: str | None = None, metric: str = "bleu") -> str | None:
    """Every system's score by direction, a dot each; bars are ± one deviation over seeds.

    With one seed the bars are the 95 % bootstrap interval, if the comparisons tell it.
    """
    test_set = test_set or next(iter(names_of_test_sets(results)), None)
    points = _points(results, test_set, metric)
    directions = [d for _, d in columns(results, test_set or "") if d != AVERAGE]
    directions = [
        d for d in dict.fromkeys(directions) if any((s, d) in points for s in systems(results))
    ]
    names = [name for name in systems(results) if any((name, d) in points for d in directions)]
    if not names:
        return None
    across = min(2, len(directions))
    down = -(-len(directions) // across)
    paint = colours(systems(results))
    guides = [name for name in ("teacher", plain_student(results)) if name in names]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(down, across, sharey=True, squeeze=False).flat
        for axes, direction in zip(panels, directions, strict=False):
            for name in guides:
                if (name, direction) in points:
                    value = points[name, direction][0]
                    axes.axvline(value, color=paint[name], linewidth=0.9, linestyle=(0, (1, 2)))
            for y, name in enumerate(names):
                if (name, direction) in points:
                    _draw_dot(axes, y, points[name, direction], paint[name])
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(len(names) - 0.4, -0.75)
            axes.margins(x=0.18)
            axes.set_title(direction.replace("-", " → "), fontsize=10, color=INK, loc="left")
            _tidy(axes, 0)
            axes.grid(False)
            axes.grid(axis="x", color=GRID, linewidth=0.8)
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
            axes.locator_params(axis="x", nbins=4)
        for axes in list(figure.axes)[len(directions) :]:
            axes.set_visible(False)

    height = down * (0.75 + 0.3 * len(names))
    better = "lower is better" if describe(metric).lower_is_better else "higher is better"
    return _svg(f"scores-{metric}-{test_set}", f"{metric} by direction, {better}", draw, height)


def _draw_dot(axes: Axes, y: int, point: tuple[float, float | None], colour: str) -> None:
    value, spread = point
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


def _points(
    results: Results, test_set: str | None, metric: str
) -> dict[tuple[str, str], tuple[float, float | None]]:
    """(system, direction) → mean over seeds and half width of its error bar."""
    points = {}
    for row in results.get("summary") or []:
        if (row["test_set"], row["metric"]) == (test_set, metric):
            points[row["system"], row["direction"]] = (row["mean"], row.get("std"))
    for row in results.get("comparisons") or []:
        key = (row["system"], row["direction"])
        if (row["test_set"], row["metric"]) == (test_set, metric) and key in points:
            mean, spread = points[key]
            points[key] = (mean, spread if spread is not None else row.get("interval"))
    return points


def _draw_curves(axes: Axes, curves: Curves, paint: Paint, key: str, scale: float = 1) -> None:
    paint = paint or colours(list(curves))
    for name, runs in curves.items():
        dashes = DASHES.get(name, "solid")
        width = 2.2 if name == "self_evolution" else 1.6
        _draw_runs(axes, runs, key, name, paint[name], dashes, width, scale)


def _draw_runs(
    axes: Axes,
    runs: Sequence[Run],
    key: str,
    label: str,
    colour: str,
    dashes: Any,
    width: float,
    scale: float = 1,
) -> None:
    """The smoothed mean over seeds as a line, and the seeds' range as a band."""
    import numpy as np

    found = [_series(run, key) for run in runs]
    found = [(steps, values) for steps, values in found if len(steps)]
    if not found:
        return
    # seeds may have been logged at different steps: compare them where all of them are known
    grid = np.array(min((steps for steps, _ in found), key=lambda steps: steps[-1]))
    smooth = [scale * np.interp(grid, steps, _smoothed(values)) for steps, values in found]
    if len(smooth) > 1:
        low, high = np.min(smooth, axis=0), np.max(smooth, axis=0)
        axes.fill_between(grid, low, high, color=colour, alpha=0.14, linewidth=0)
    axes.plot(
        grid, np.mean(smooth, axis=0), color=colour, linestyle=dashes, linewidth=width, label=label
    )


def _series(run: Run, key: str) -> tuple[list[float], list[float]]:
    """Steps and values of one key; lines without it (validations) are passed over."""
    lines = [line for line in run if line.get(key) is not None and line.get("step") is not None]
    return [line["step"] for line in lines], [line[key] for line in lines]


def _smoothed(values: Sequence[float]) -> Any:
    """Running mean over 5 % of the points, centred; at the ends, over those that are there."""
    import numpy as np

    reach = int(SMOOTHING * len(values) / 2)
    return np.array(
        [np.mean(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))]
    )


def _has(curves: Curves, key: str) -> bool:
    return any(len(_series(run, key)[0]) for runs in curves.values() for run in runs)


def _histogram(found: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]] | None:
    """Finite edges (the open end one bin wide) and per cent of tokens in each bin."""
    histograms = [d["histogram"] for d in found if (d.get("histogram") or {}).get("counts")]
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


def _finish_curves(axes: Axes, entries: int) -> None:
    axes.set_xlabel("optimizer steps")
    axes.set_xlim(left=0)
    _tidy(axes, entries)


def _tidy(axes: Axes, entries: int) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#b6bbc2")
    axes.tick_params(colors=FAINT, labelcolor=INK, length=3)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    if entries:
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.2),
            ncols=min(3, entries),
            frameon=False,
            handlelength=2.6,
            columnspacing=1.4,
        )


def _svg(name: str, label: str, draw: Callable[[Figure], None], height: float = 3.3) -> str:
    """Draw on a canvas of its own; nothing of matplotlib's global state is touched or trusted."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 10,
        "axes.unicode_minus": True,
        "text.color": INK,
        "axes.labelcolor": FAINT,
        "text.usetex": False,
        "text.parse_math": False,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(wspace=0.08))
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        draw(figure)
        for axes in figure.axes:
            axes.patch.set_alpha(0)
        # the first layout chooses the ticks, whose labels the second one makes room for
        figure.draw_without_rendering()
        page = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(page, format="svg", metadata=nothing)
    return _inlined(page.getvalue(), name, label)


def _inlined(svg: str, name: str, label: str) -> str:
    """Fit for an HTML page: no XML head, identifiers of its own, as wide as its place."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.S)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(href="|url\()#', rf"\g<1>#{name}-", svg)
    head, rest = svg.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*pt"', "", head)
    return f'{head} role="img" aria-label="{escape(label)}">{rest}'
