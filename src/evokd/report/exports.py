"""What students became in other formats: a table, and a figure to choose by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from evokd.report.formatting import DASH, decimal, percent, signed, whole
from evokd.report.frontier import log_ticks
from evokd.report.results import WORSE, Record, Results
from evokd.report.svg import FAINT, HEIGHT, draw_svg, legend_height, make_palette, series, tidy
from evokd.report.tables import Grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADINGS = (
    *("student", "format", "same lines", "BLEU", "ΔBLEU", "ΔchrF", "MiB"),
    *("words/s", "evokd’s own", "one line, ms", "load, s", "peak MiB"),
)
LEGEND = (
    "same lines, ΔBLEU, ΔchrF: beside the student’s own translations by evokd",
    f"{WORSE} significantly worse (paired test, p < 0.05)",
    "one line: the median of lines translated by themselves",
    "peak: of a process that translates, Python and its libraries included",
)


class Exported(NamedTuple):
    """One export, to be shown beside others."""

    series: str
    """What it goes with: those of a series are joined by a line."""
    name: str
    """In the table."""
    label: str
    """Of its dot."""
    record: Record


def of_study(results: Results) -> list[Exported]:
    """Those of one study, a series for each format."""
    several, made = len(results.seeds) > 1, []
    for row in results.exports:
        name = f"{row['system']}.seed{row['seed']}" if several else row["system"]
        made.append(Exported(_format(row), name, name, row))
    return made


def exports_grid(exports: Sequence[Exported]) -> Grid:
    """How far each says what its student said, how fast, how large."""
    rows = [[one.name, _format(one.record), *_numbers(one.record)] for one in exports]
    return Grid(HEADINGS, {"": rows}, LEGEND)


def shipping_figures(exports: Sequence[Exported], guides: Mapping[str, float]) -> dict[str, str]:
    """Quality against speed and against size, by title; none where there is nothing to choose from.

    Args:
        guides: systems that weren't exported, and their BLEU.
    """
    shown = [one for one in exports if one.record.get("bleu_export") is not None]
    if len(shown) < 2:
        return {}
    axes = {"speed": ("words_per_s", "words/s"), "size": ("size_mib", "MiB")}
    return {
        f"Quality and {name}": _figure(f"quality-{name}", shown, guides, *axis)
        for name, axis in axes.items()
    }


def _figure(
    name: str, shown: Sequence[Exported], guides: Mapping[str, float], key: str, label: str
) -> str:
    every = list(dict.fromkeys(one.series for one in shown))
    palette = make_palette(every)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for bleu in guides.values():
            axes.axhline(bleu, color=FAINT, linewidth=1, linestyle=(0, (1, 2)))
        for each in every:
            own = [one for one in shown if one.series == each]
            points = sorted((o.record[key], o.record["bleu_export"], o.label) for o in own)
            x, y, names = zip(*points, strict=True)
            style: dict[str, Any] = {"color": palette[each], "gid": series(each)}
            axes.plot(x, y, "o-", label=each, markersize=4, linewidth=1.2, **style)
            for place in zip(names, x, y, strict=True):
                _named(axes, *place)
        log_ticks(axes, (one.record[key] for one in shown), _tick)
        axes.set_xlabel(label)
        axes.set_ylabel("BLEU of the export")
        tidy(axes, len(every))

    label_of_all = f"BLEU of exports against {label}"
    return draw_svg(name, label_of_all, draw, HEIGHT + legend_height(every))


def _tick(value: float) -> str:
    return f"{value:.2g}" if value < 10 else whole(value)


def _named(axes: Axes, name: str, x: float, y: float) -> None:
    where: dict[str, Any] = {"xytext": (3, -9), "textcoords": "offset points"}
    axes.annotate(name, (x, y), fontsize=7, color=FAINT, **where)


def _format(row: Record) -> str:
    own = row["quantization"] == "none"
    return f"{row['format']}, {row['dtype'] if own else row['quantization']}"


def _numbers(row: Record) -> list[str]:
    if "agreement" not in row:
        return [DASH] * (len(HEADINGS) - 2)
    mark = WORSE if row["differs"] else ""
    own = row["words_per_s_float"]
    return [
        percent(row["agreement"]),
        decimal(row["bleu_export"], 2),
        signed(row["bleu_export"] - row["bleu_float"]) + mark,
        signed(row["chrf_export"] - row["chrf_float"]),
        decimal(row["size_mib"], 1),
        f"{whole(row['words_per_s'])} ({row['words_per_s'] / own:.1f}×)" if own else DASH,
        whole(own),
        decimal(1000 * row["seconds_alone"], 1),
        decimal(row["load_seconds"], 2),
        whole(row["peak_mib"]),
    ]
