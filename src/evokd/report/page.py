"""report.html: the whole study on one self-contained page, and its tables as files."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from evokd.evaluate.sentences import SENTENCES
from evokd.recipe.metrics import WORTH, describe
from evokd.report import analysis, sections
from evokd.report.card import write_cards
from evokd.report.exports import exports_grid, of_study
from evokd.report.figures import report_figures
from evokd.report.formatting import arrow
from evokd.report.hard_tokens import hard_tokens
from evokd.report.headline import headline
from evokd.report.latex import as_latex
from evokd.report.map import point_of
from evokd.report.results import Results
from evokd.report.sentences import link, packed
from evokd.report.svg import make_palette
from evokd.report.tables import (
    as_markdown,
    closeness,
    format_gap,
    grid_markdown,
    legend,
    signatures,
)
from evokd.rundir.files import write_text
from evokd.rundir.verify import seal_pages


def build_report(run_dir: Path) -> Path:
    """Write table.md, table.tex and report.html from the files of a run folder.

    Returns:
        The path of report.html.

    Raises:
        InputError: there is no results.json, or it can't be read.
    """
    results = Results.read(run_dir)
    exported = grid_markdown("Exports", exports_grid(of_study(results)))
    tables = [as_markdown(results), analysis.as_markdown(results), exported]
    write_text(run_dir / "table.md", "\n".join(table for table in tables if table))
    write_text(run_dir / "table.tex", as_latex(results))
    write_page(results, run_dir / "report.html")
    write_cards(results)
    seal_pages(run_dir, ["results.json", SENTENCES, "table.md", "table.tex", "report.html"])
    return run_dir / "report.html"


def write_page(results: Results, out: Path) -> None:
    """Write the page; whatever results or run folder lack is left out of it.

    Nothing on the page is loaded from anywhere: style and figures stand in the file itself.
    """
    tree, created = results.tree, results.tree.get("created")
    point = point_of(results.folder) if results.folder else ()
    page = (
        environment()
        .get_template("page.html.jinja")
        .render(
            results=results,
            title=" · ".join([tree.get("title") or tree.get("name") or "evokd report", *point]),
            map="../report.html" if point else None,
            name=tree.get("name") or "",
            evokd=tree.get("evokd") or "",
            created=f"{datetime.fromisoformat(created):%-d %B %Y}" if created else "",
            notes=[*results.files.changed(), *(tree.get("notes") or [])],
            versions=tree.get("versions") or {},
            headline=[_unbroken(line) for line in headline(results)],
            palette=make_palette(["start", *results.systems]),
            worth=WORTH,
            training_notes=sections.training_notes(results),
            figures=report_figures(results),
            tokens=hard_tokens(results),
            families=sections.families(results),
            sentences=packed(results),
            see=link,
            behaviour=sections.behaviour(results),
            analysis=analysis.analysis_table(results),
            speed=sections.speed(results),
            exports=exports_grid(of_study(results)),
            training=sections.training(results),
            stages=sections.stages(results),
            advice=(results.start.get("advice") or {}).get("reason"),
            gates=sections.gates(results),
            cleaning=sections.cleaning(results),
            teacher_texts=sections.teacher_texts(results),
        )
    )
    write_text(out, page)


def environment() -> Environment:
    """Of the templates in this folder, with what they write numbers by."""
    made = Environment(
        loader=PackageLoader("evokd", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (arrow, closeness, sections.differing_words, legend, signatures):
        made.filters[function.__name__] = function
    made.filters |= {"gap": format_gap, "spec": describe}
    return made


def _unbroken(line: str) -> str:
    """Numbers stay on one line with their units and signs."""
    line = re.sub(r"\bp ([<=]) (?=\d)", "p\u00a0\\1\u00a0", line)
    return re.sub(r"(?<=\d) (?=%|BLEU|seeds)", "\u00a0", line)
