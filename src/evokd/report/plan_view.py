"""A plan to look at: a table, and bars of each stage's memory against the card's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from evokd.report.formatting import DASH, count
from evokd.report.svg import FAINT, INK, draw_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {
    "weights": "#0072B2",
    "gradients": "#56B4E9",
    "optimizer": "#009E73",
    "teacher": "#23272e",
    "activations": "#E69F00",
    "head": "#D55E00",
    "loss": "#CC79A7",
    "runtime": "#c9cdd3",
}
"""Part of memory → colour."""
MARKS = {True: "✓", False: "✗"}


def plan_text(tree: Mapping[str, Any]) -> str:
    """What a plan found, for a terminal."""
    device, models = tree["device"], tree["models"]
    many = f"{tree['gpus']} × " if tree["gpus"] > 1 else ""
    lines = [
        f"{tree['name']} on {many}{device['name']}, {device['memory_gib']:.0f} GiB",
        *(
            f"{name}: {count(one['parameters'])} parameters, {one['shape']}"
            for name, one in models.items()
        ),
        "",
        *_table(tree),
        "",
        *(f"note: {note}" for note in tree["notes"]),
    ]
    for row in tree["stages"]:
        lines += [f"note: {row['name']}: {note}" for note in row["notes"]]
    lines += _refusals(tree)
    placements = tree["placements"]
    if len(placements) > 1:
        each = (f"{kind} {MARKS[one['fits']]}" for kind, one in placements.items())
        lines.append(f"placements: {', '.join(each)}")
    lines.append(_verdict(tree))
    return "\n".join(lines)


def _verdict(tree: Mapping[str, Any]) -> str:
    if not tree["fits"]:
        return "it doesn't fit"
    typed = f"; type {' '.join(tree['type'])}" if tree["type"] else ""
    return f"it fits ({tree['placement']}){typed}" if tree["gpus"] > 1 else "it fits"


def _refusals(tree: Mapping[str, Any]) -> list[str]:
    """Why stages don't fit, alike ones in a line."""
    names: dict[str, list[str]] = {}
    for row in tree["stages"]:
        if not row["fits"]:
            why = row["refusal"].removeprefix(row["name"])
            names.setdefault(why, []).append(row["name"])
    return [f"✗ {', '.join(alike)}{why}" for why, alike in names.items()]


def _table(tree: Mapping[str, Any]) -> list[str]:
    """A row for each stage, GiB of a device by parts."""
    parts = [*COLOURS, "total"]
    rows = []
    for row in tree["stages"]:
        gib = row["per_device_gib"]
        seeds = f" × {row['times']}" if row["times"] > 1 else ""
        sizes = [f"{gib[part]:.1f}" if gib[part] >= 0.05 else DASH for part in parts]
        cost = [] if tree["total"]["cost"] is None else [_number(row["cost"])]
        disk, hours = _number(row["disk_gib"] or None), _number(row["hours"])
        rows.append([row["name"] + seeds, *sizes, MARKS[row["fits"]], disk, hours, *cost])
    total = tree["total"]
    sums = [_number(total[key]) for key in ("disk_gib", "hours")]
    priced = [] if total["cost"] is None else [_number(total["cost"])]
    rows.append(["in all", *([""] * len(parts)), MARKS[tree["fits"]], *sums, *priced])
    headings = ["GiB a device", *parts, "fits", "disk", "hours"] + (["cost"] if priced else [])
    align = ("left", *("right" for _ in headings[1:]))
    made = tabulate(rows, headings, tablefmt="simple", disable_numparse=True, colalign=align)
    return made.splitlines()


def _number(value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def plan_picture(tree: Mapping[str, Any]) -> str:
    """A bar for each stage, its parts side by side, and a line at the card's memory: SVG."""
    rows, has = tree["stages"], tree["device"]["memory_gib"]
    label = "Memory of each stage by its parts, against the card's"

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        places = range(len(rows))
        start = [0.0 for _ in rows]
        for part, colour in COLOURS.items():
            sizes = [row["per_device_gib"][part] for row in rows]
            axes.barh(places, sizes, left=start, color=colour, label=part, height=0.7)
            start = [a + b for a, b in zip(start, sizes, strict=True)]
        for place, row in zip(places, rows, strict=True):
            text = f" {row['per_device_gib']['total']:.1f} {MARKS[row['fits']]}"
            axes.text(start[place], place, text, va="center", color=INK, fontsize=8)
        axes.axvline(has, color=INK, linewidth=1.2, linestyle=(0, (3, 2)))
        axes.set_xlim(0, 1.18 * max([has, *start]))
        axes.set_yticks(places, [row["name"] for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel(f"GiB a device; the line: {tree['device']['name']}, {has:.0f} GiB")
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(colors=FAINT, labelcolor=INK, length=0)
        figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)

    drawn = draw_svg("plan", label, draw, height=1.4 + 0.27 * len(rows))
    return drawn + "\n"
