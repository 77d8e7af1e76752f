"""The page of a grid: its map as figures and tables, and the way to each study's own page."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from evokd.report.exports import exports_grid, shipping_figures
from evokd.report.formatting import signed
from evokd.report.map import Map, as_markdown, as_tree
from evokd.report.map_figures import gain_lines, gate_curves, heat_map
from evokd.report.page import environment
from evokd.report.results import BETTER, WORSE
from evokd.rundir.files import write_json, write_text
from evokd.rundir.verify import seal_pages
from evokd.rundir.versions import versions

SAME = 0.005
"""Points of BLEU below which a gain is printed as none."""


def build_map(folder: Path) -> Path:
    """Write map.md, map.json, figures/*.svg and report.html from what the studies of a grid have
    found so far.

    Returns:
        The path of report.html.

    Raises:
        InputError: there is no grid, or no study of it is finished.
    """
    shown = Map(folder)
    write_text(folder / "map.md", as_markdown(shown))
    write_json(folder / "map.json", as_tree(shown))

    def drawn(name: str, svg: str | None) -> Markup | None:
        if svg is None:
            return None
        on_white = svg.replace("<svg ", '<svg style="background: white" ', 1)
        write_text(folder / "figures" / f"{name}.svg", on_white)
        return Markup(svg)

    page = (
        environment()
        .get_template("map.html.jinja")
        .render(
            map=shown,
            lesson=lesson(shown),
            panels=[
                {
                    "title": " · ".join(row) or shown.name,
                    "heat": drawn("-".join(["heat", *row]), heat_map(shown, row)),
                    "lines": drawn("-".join(["lines", *row]), gain_lines(shown, row)),
                    "scores": shown.scores(row),
                }
                for row in shown.rows
            ],
            gates=drawn("gates", gate_curves(shown)),
            exports=exports_grid(shown.exports),
            shipping=[
                {"title": title, "svg": drawn(title.lower().replace(" ", "-"), svg)}
                for title, svg in shipping_figures(shown.exports, shown.teachers).items()
            ],
            versions=versions(),
        )
    )
    write_text(folder / "report.html", page)
    figures = [f"figures/{path.name}" for path in (folder / "figures").glob("*.svg")]
    seal_pages(folder, ["recipe.yaml", "map.md", "map.json", "report.html", *figures])
    return folder / "report.html"


def lesson(shown: Map) -> str:
    """What never loses and what wins most, in a sentence."""
    known = [name for name in shown.rivals if shown.of(name)]
    if not known:
        return f"Nothing has been compared with {shown.baseline} yet."
    if all(abs(gain.gain) < SAME for name in known for gain in shown.of(name)):
        return (
            f"No method differs from {shown.baseline}: under {len(shown.studies)} conditions all "
            f"{len(known)} have its BLEU."
        )
    safest = max(known, key=lambda name: min(gain.gain for gain in shown.of(name)))
    gains, studies = shown.of(safest), len(shown.studies)
    marks = [gain.mark for gain in gains]
    low, high = (f(gain.gain for gain in gains) for f in (min, max))
    return (
        f"{safest} is the safest of {len(shown.rivals)} methods: {signed(low)} to {signed(high)} "
        f"BLEU over {shown.baseline} under {studies} conditions, significantly better under "
        f"{marks.count(BETTER)}, worse under {marks.count(WORSE)}."
    )
