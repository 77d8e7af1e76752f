"""report.html: the whole study on one self-contained page, and its tables as files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from evokd import rundir
from evokd.errors import InputError
from evokd.recipe.metrics import describe
from evokd.report import analysis, figures, sections, training_text
from evokd.report.formatting import arrow
from evokd.report.headline import headline
from evokd.report.results import (
    Results,
    curves_shown,
    focus_system,
    names_of_test_sets,
    plain_student,
    systems,
)
from evokd.report.tables import as_latex, as_markdown


def build_report(run_dir: Path) -> Path:
    """Write table.md, table.tex and report.html from the files of a run folder.

    Returns:
        The path of report.html.

    Raises:
        InputError: there is no results.json, or it can't be read.
    """
    run_dir = Path(run_dir)
    results = read_results(run_dir)
    recipe = run_dir / "recipe.yaml"
    recipe_yaml = recipe.read_text(encoding="utf-8") if recipe.is_file() else ""
    beside = analysis.as_markdown(results)
    rundir.write_text(
        run_dir / "table.md", as_markdown(results) + (f"\n{beside}" if beside else "")
    )
    rundir.write_text(run_dir / "table.tex", as_latex(results))
    out = run_dir / "report.html"
    write_report(results, run_dir, recipe_yaml, out)
    return out


def read_results(run_dir: Path) -> Results:
    """The results dict of a run folder.

    Raises:
        InputError: there is no results.json, or it can't be read.
    """
    path = run_dir / "results.json"
    try:
        results = rundir.read_json(path)
    except FileNotFoundError:
        raise InputError(
            f"{path} not found; give the folder of a run that has finished scoring "
            "(evokd run RECIPE writes one)"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read: {error}") from None
    if not isinstance(results, dict):
        raise InputError(f"{path} holds a {type(results).__name__}; a mapping of keys is accepted")
    return results


def write_report(results: Results, run_dir: Path | None, recipe_yaml: str, out: Path) -> None:
    """Write the page; whatever the run folder lacks is left out of it.

    Nothing on the page is loaded from anywhere: style and figures stand in the file itself.
    """
    template = resources.files("evokd.report").joinpath("page.html.jinja")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(template.read_text(encoding="utf-8"))
    rundir.write_text(out, page.render(_contents(results, run_dir, recipe_yaml)))


def _contents(results: Results, run_dir: Path | None, recipe_yaml: str) -> dict[str, Any]:
    """Everything that the template names."""
    names = systems(results)
    diagnostics = _diagnostics(run_dir, names)
    paint = figures.colours(names)
    versions = results.get("versions") or {}
    return {
        "title": results.get("title") or results.get("name") or "evokd report",
        "name": results.get("name") or "",
        "evokd": results.get("evokd") or "",
        "created": _date(results.get("created")),
        "directions": [arrow(d) for d in results.get("directions") or []],
        "seeds": results.get("seeds") or [],
        "device": versions.get("device"),
        "headline": [_unbroken(line) for line in headline(results)],
        "notes": results.get("notes") or [],
        "paint": {"start": figures.PALETTE["start"], **paint},
        "tables": sections.score_tables(results),
        "figures": _figures(results, _curves(run_dir, names), diagnostics, paint),
        "translations": sections.translations(results),
        "tokens": sections.token_sentences(results, diagnostics),
        "training": sections.training(results),
        "misbehaviour": list(sections.MISBEHAVIOUR.values()),
        "behaviour": sections.behaviour(results),
        "speed": sections.speed(results),
        "analysis": {
            "headings": analysis.headings(results),
            "rows": analysis.table(results),
            "legend": analysis.legend(results),
        },
        "cleaning": training_text.cleaning(results),
        "teacher_texts": training_text.teacher_texts(results),
        "stages": _stages(results, run_dir),
        "recipe_yaml": recipe_yaml,
        "versions": {key: value for key, value in versions.items() if value is not None},
    }


def _figures(
    results: Results,
    curves: figures.Curves,
    diagnostics: sections.Diagnostics,
    paint: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Those figures that there are data for."""
    found: list[tuple[str | None, str, str]] = []
    shown = curves_shown(results)
    students = [name for name in systems(results) if name != "teacher"]
    few = "" if len(shown) >= len(students) else f" Shown: {', '.join(shown)}."
    every, curves = curves, {name: runs for name, runs in curves.items() if name in shown}
    diagnostics = {k: v for k, v in diagnostics.items() if k == "start" or k in shown}
    spread = (
        "Bars: ± one standard deviation over seeds." if len(results.get("seeds") or []) > 1 else ""
    )
    guides = [name for name in ("teacher", plain_student(results)) if name in systems(results)]
    lines = f"Dotted lines: {' and '.join(guides)}." if guides else ""
    for test_set in names_of_test_sets(results):
        for metric in ("bleu", "bleu_vs_teacher"):
            title = f"{describe(metric).label} by direction"
            told = f"{lines} {spread}"
            if metric == "bleu_vs_teacher":
                title = "Likeness to the teacher"
                told = f"BLEU with the teacher’s output as the reference. {spread}"
            if len(names_of_test_sets(results)) > 1:
                title += f", {test_set}"
            found.append((figures.score_dots(results, test_set, metric), title, told))
    found.append(
        (
            figures.loss_curves(curves, paint),
            "The common loss",
            "Divergence of the student from the mix of teacher and reference, the same quantity "
            f"for all methods; running mean over 5 % of the training.{few}",
        )
    )
    found.append(
        (
            figures.difficulty_histogram(diagnostics, paint),
            "Difficulty of validation tokens",
            f"Grey: the students’ common start. Beyond Γ a token is hard.{few}",
        )
    )
    found.append(
        (
            figures.hard_share_curves(curves, paint),
            "Share of hard tokens",
            "Tokens of a batch with a difficulty above Γ; running mean over 5 % of the training."
            f"{few}",
        )
    )
    focus = focus_system(results)
    if focus:
        found.append(
            (
                figures.hard_weight_curves(every, focus),
                f"What hard tokens weigh in {focus}",
                "Their share of the tokens, of the loss and of the gradient.",
            )
        )
    return [
        {"svg": Markup(svg), "title": title, "caption": caption}
        for svg, title, caption in found
        if svg is not None
    ]


def _stages(results: Results, run_dir: Path | None) -> list[dict[str, Any]]:
    """What the teacher's training and the students' common start noted down."""
    stages = []
    titles = (("teacher", "Teacher"), ("start", "The students’ common start"))
    for folder, title in titles:
        known = results.get("start") if folder == "start" else None
        manifest = _read(run_dir / folder / rundir.MANIFEST) if run_dir else None
        facts = sections.facts_of(manifest or {}, known if isinstance(known, dict) else {})
        if facts:
            stages.append({"title": title, "facts": facts})
    return stages


def _curves(run_dir: Path | None, names: list[str]) -> dict[str, list[list[dict[str, Any]]]]:
    """System → the metrics of each of its runs."""
    curves: dict[str, list[list[dict[str, Any]]]] = {}
    for name, folder in _student_folders(run_dir, names):
        path = folder / "metrics.jsonl"
        if path.is_file():
            curves.setdefault(name, []).append(_read_lines(path))
    return curves


def _diagnostics(run_dir: Path | None, names: list[str]) -> dict[str, list[dict[str, Any]]]:
    """ "start" and systems → the diagnostics of each of their runs."""
    found: dict[str, list[dict[str, Any]]] = {}
    folders = [("start", run_dir / "start")] if run_dir else []
    for name, folder in [*folders, *_student_folders(run_dir, names)]:
        tree = _read(folder / "diagnostics.json")
        if isinstance(tree, dict):
            found.setdefault(name, []).append(tree)
    return found


def _student_folders(run_dir: Path | None, names: list[str]) -> list[tuple[str, Path]]:
    if run_dir is None:
        return []
    return [
        (name, folder)
        for name in names
        for folder in sorted((run_dir / "students").glob(f"{name}.seed*"))
    ]


def _read(path: Path) -> Any:
    """A JSON file, or None: the page does without what isn't there."""
    try:
        return rundir.read_json(path)
    except (OSError, ValueError):
        return None


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """JSON lines; the last one may be half written by a run that is still going on."""
    lines = []
    for text in path.read_text(encoding="utf-8").split("\n"):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def _unbroken(line: str) -> str:
    """Numbers stay on one line with their units and signs."""
    line = re.sub(r"\bp ([<=]) (?=\d)", "p\u00a0\\1\u00a0", line)
    return re.sub(r"(?<=\d) (?=%|BLEU|seeds)", "\u00a0", line)


def _date(created: str | None) -> str:
    try:
        moment = datetime.fromisoformat(created or "")
    except ValueError:
        return created or ""
    return f"{moment.day} {moment:%B %Y}"
