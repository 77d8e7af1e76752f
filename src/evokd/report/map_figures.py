"""The figures of a map: gains as a heat map and as lines, and how well gates find wrong tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evokd.report.formatting import signed
from evokd.report.map import Map
from evokd.report.svg import FAINT, INK, draw_svg, make_palette, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SATURATED = 8.0
"""BLEU of a gain or a loss from which a cell has its full colour."""


def heat_map(shown: Map, row: tuple[str, ...]) -> str | None:
    """Gain over the baseline in average BLEU: methods down, the last axis across."""
    if not shown.rivals:
        return None
    gains = {
        (y, x): gain
        for y, name in enumerate(shown.rivals)
        for x, column in enumerate(shown.columns)
        if (gain := shown.gains.get((name, (*row, column))))
    }

    def draw(figure: Figure) -> None:
        import numpy as np

        axes = figure.subplots()
        values = np.full((len(shown.rivals), len(shown.columns)), np.nan)
        for place, gain in gains.items():
            values[place] = gain.gain
        down, across = (np.arange(size + 1) - 0.5 for size in values.shape)
        axes.pcolormesh(across, down, values, cmap="RdBu", vmin=-SATURATED, vmax=SATURATED)
        axes.invert_yaxis()
        for (y, x), one in gains.items():
            colour = "white" if abs(one.gain) > 0.7 * SATURATED else INK
            text = signed(one.gain) + one.mark
            axes.text(x, y, text, ha="center", va="center", fontsize=7, color=colour)
        _label(axes.set_xticks, shown.columns, rotation=40, ha="right")
        _label(axes.set_yticks, shown.rivals)
        axes.tick_params(length=0, labelcolor=INK, labelsize=8)
        for spine in axes.spines.values():
            spine.set_visible(False)

    label = f"Gain over {shown.baseline} {' '.join(row)}".strip()
    return draw_svg(_name("heat", row), label, draw, 0.9 + 0.24 * len(shown.rivals))


def gain_lines(shown: Map, row: tuple[str, ...]) -> str | None:
    """What methods that damp tokens gain over the baseline, along the last axis."""
    if not shown.gated:
        return None
    palette, columns = make_palette(shown.systems), list(enumerate(shown.columns))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axhline(0, color=FAINT, linewidth=1, linestyle=(0, (1, 2)))
        for name in shown.gated:
            known = {x: gain for x, c in columns if (gain := shown.gains.get((name, (*row, c))))}
            gains = [gain.gain for gain in known.values()]
            spread = [gain.spread or 0.0 for gain in known.values()]
            style: dict[str, Any] = {"color": palette[name], "linewidth": 1.6, "capsize": 2}
            if known:
                axes.errorbar(list(known), gains, spread, label=name, **style)
        _label(axes.set_xticks, shown.columns, rotation=40, ha="right")
        axes.set_ylabel(f"BLEU over {shown.baseline}")
        tidy(axes, 0)
        if axes.get_legend_handles_labels()[0]:
            above: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncol": 3}
            axes.legend(frameon=False, fontsize=8, handlelength=1.6, **above)

    return draw_svg(_name("lines", row), f"Gain by method {' '.join(row)}".strip(), draw)


def gate_curves(shown: Map) -> str | None:
    """Precision and recall of gates in finding wrong tokens: a curve over Γ and one over δ for each
    point of the grid."""
    by_point = shown.gates()

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for rows in by_point.values():
            for vouched, colour in ((False, "#D55E00"), (True, "#0072B2")):
                places = [
                    (100 * gate["recall"], 100 * gate["precision"])
                    for gate in rows
                    if bool(gate["doubt"]) == vouched and gate["precision"] is not None
                ]
                if places:
                    axes.plot(*zip(*places, strict=True), "o-", color=colour, alpha=0.6, ms=3, lw=1)
        axes.set_xlabel("recall, %")
        axes.set_ylabel("precision, %")
        axes.plot([], [], "o-", color="#D55E00", label="Γ alone")
        axes.plot([], [], "o-", color="#0072B2", label="vouched, δ")
        tidy(axes, 2)

    label = "Precision and recall of gates in finding wrong tokens"
    return draw_svg("gates", label, draw) if by_point else None


def _label(ticks: Any, names: list[str], **how: Any) -> None:
    ticks(range(len(names)), names, **how)


def _name(kind: str, row: tuple[str, ...]) -> str:
    return "-".join([kind, *row])
