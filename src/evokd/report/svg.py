"""The canvas of all figures: colours, axes, and SVG text that is fit for an HTML page.

Text stays text (searchable, in the page's own font), no font or file is fetched, and the same data
gives the same bytes. Each system keeps its colour (Okabe and Ito's palette, which colour-blind
readers can tell apart) and its dash pattern in all figures.
"""

from __future__ import annotations

import colorsys
import io
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Palette = Mapping[str, str]
"""System → colour."""

WIDTH, HEIGHT = 4.6, 3.3
"""Inches; narrow, so that ten-point text is still legible where the page is 400 pixels wide."""
LEGEND_WIDTH = 55  # characters of a line, the sample before each name counted as seven
LEGEND_ROW = 0.22  # inches
INK, FAINT, GRID = "#23272e", "#6b7280", "#e6e8eb"
KNOWN_COLOURS = {
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
SPARE_COLOURS = ("#882255", "#44AA99", "#332288", "#999933", "#AA4499", "#117733")
DASHES = {
    "sft": (0, (1, 1.2)),
    "noevo": (0, (4, 2)),
    "skew": (0, (6, 1.5, 1.5, 1.5)),
    "skew_teacher": (0, (2, 1)),
    "reverse_kd": (0, (5, 1)),
}


def make_palette(systems: Iterable[str]) -> dict[str, str]:
    """System → colour: known methods have theirs, others take spare ones in order."""
    spare = itertools.chain(SPARE_COLOURS, map(_further_colour, itertools.count()))
    return {name: KNOWN_COLOURS.get(name) or next(spare) for name in systems}


def _further_colour(number: int) -> str:
    """Hues a golden angle apart in three depths, without end."""
    hue, depth = (0.07 + 0.618034 * number) % 1, (0.38, 0.5, 0.28)[number % 3]
    return "#" + "".join(
        f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, depth, 0.6)
    )


def draw_svg(name: str, label: str, draw: Callable[[Figure], None], height: float = HEIGHT) -> str:
    """Draw on a canvas of its own; nothing of matplotlib's global state is touched or trusted.

    Args:
        name: what identifiers in the SVG begin with; another one for each figure of a page.
        label: what the figure shows, for those who can't see it.
    """
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
        layout = ConstrainedLayoutEngine(wspace=0.08, hspace=0.06)
        figure = Figure(figsize=(WIDTH, height), layout=layout)
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


def legend_height(labels: Iterable[str]) -> float:
    """Inches that a legend takes beyond what a figure of usual height has for it."""
    rows = -(-len(labels := list(labels)) // _columns(labels))
    return LEGEND_ROW * max(0, rows - 2)


def legend_below(figure: Figure) -> None:
    """One legend for all axes of a figure, of what the first ones show."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=_columns(labels), frameon=False
    )


def series(label: str) -> str:
    """Identifier of all that is drawn of one system, which the page's script can hide and show."""
    return f"series:{label}"


def _columns(labels: Sequence[str]) -> int:
    """As many as fit beside each other."""
    widest = max(map(len, labels), default=1)
    return max(1, min(3, len(labels), LEGEND_WIDTH // (widest + 7)))


def tidy(axes: Axes, legend_entries: int) -> None:
    """Thin axes, faint lines at the ticks of y, and the legend, if there is one, below."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#b6bbc2")
    axes.tick_params(colors=FAINT, labelcolor=INK, length=3)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    if legend_entries:
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.2),
            ncols=_columns(axes.get_legend_handles_labels()[1]),
            frameon=False,
            handlelength=2.6,
            columnspacing=1.4,
        )


def _inlined(svg: str, name: str, label: str) -> str:
    """Fit for an HTML page: no XML head, identifiers of its own, as wide as its place."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="series:', 'data-series="', svg)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(href="|url\()#', rf"\g<1>#{name}-", svg)
    svg = re.sub(r'\s(width|height)="[^"]*pt"', "", svg, count=2)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
