"""A model card as the hub reads it: what a student is, what it scored, how it is used."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from evokd.recipe.exports import is_export
from evokd.recipe.metrics import AVERAGE, BLEU_VS_TEACHER, describe
from evokd.report.formatting import arrow
from evokd.report.results import Record, Results
from evokd.report.run_files import read_mapping
from evokd.report.tables import format_cell, legend, markdown_table
from evokd.rundir.files import read_json, write_text
from evokd.rundir.integrity import CARD
from evokd.rundir.versions import versions

SEAL_BEGINS = "<!-- evokd "
SEAL = SEAL_BEGINS + "{} -->\n"
"""Ends a card of `write_cards`, with the hash of what stands above."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
LIMITS = """\
## Limits

It was trained on single sentences of the text named above and scored on the test sets above, and on
nothing else. It may say fluently what the source doesn't, and more so on text of another kind.
"""


def model_card(
    folder: Path,
    repo_id: str,
    directions: Sequence[str],
    library: str,
    license_id: str | None = None,
    results: Results | None = None,
    system: str = "",
    seed: int | None = None,
) -> str:
    """The README.md of a repository: metadata, the folder's own card, scores, training, limits.

    Args:
        folder: of the model, whose card says how it is used.
        library: that reads it, by the hub's name.
        license_id: such as apache-2.0.
        results: of the run that it is a student of, under `system` and `seed`.
    """
    name = repo_id.split("/")[-1]
    usage = _usage(folder / CARD) or f"# {name}\n"
    if HUB_ID.fullmatch(repo_id):
        fetched = f"```sh\nhf download {repo_id} --local-dir {name}\nevokd translate"
        usage = usage.replace("```sh\nevokd translate", fetched, 1).replace("FOLDER", name)
    compared = read_mapping(folder / "parity.json").get("texts") or []
    if is_export(folder):
        scores = list(_scores_of_export(compared))
    else:
        scores = list(_scores(results, system, seed)) if results else []
    recipe = (results.tree.get("recipe") or {}) if results else {}
    license_id = license_id or (recipe.get("report") or {}).get("license")
    data = ModelCardData(
        language=_languages(directions),
        license=license_id,
        library_name=library,
        pipeline_tag="translation",
        tags=["translation", "knowledge-distillation", "evokd"],
        base_model=_hub_id((recipe.get("student") or {}).get("model")),
        datasets=_datasets(recipe) or None,
        metrics=list(dict.fromkeys(_metric_id(one["metric"]) for one in scores)) or None,
        model_name=name,
        eval_results=[_eval_result(one) for one in scores] or None,
    )
    parts = [f"---\n{data.to_yaml()}\n---\n", usage]
    if compared:
        parts.append(_parity(compared))
    if results is not None:
        parts += _tables(results, system, is_export(folder))
        parts += _behaviour(results, system, seed)
        parts += [_training(results, recipe, system), LIMITS]
    return "\n".join(parts)


def write_cards(results: Results) -> None:
    """The card of each student that these results are of, with its scores, in its folder. One that
    was edited stays as it is."""
    for system, runs in results.runs.items():
        for run in runs:
            folder = results.files.standing(f"students/{system}.seed{run['seed']}")
            if folder is None or not (folder / "model/directions.json").is_file():
                continue
            path = folder / "model" / CARD
            if path.is_file() and not is_own_card(path) and not _is_as_saved(path):
                continue
            directions = read_json(folder / "model/directions.json")
            name = f"{results.tree.get('name') or 'student'}-{system}"
            given = (results, system, run["seed"])
            card = model_card(folder / "model", name, directions, "transformers", None, *given)
            card += SEAL.format(_hash(card))
            if not path.is_file() or path.read_text(encoding="utf-8") != card:
                write_text(path, card)


def is_own_card(path: Path) -> bool:
    """Whether `write_cards` wrote it, and nobody else has since."""
    if path.name != CARD or not path.is_file():
        return False
    card = path.read_text(encoding="utf-8", errors="replace")
    text = card.rpartition(SEAL_BEGINS)[0]
    return card == text + SEAL.format(_hash(text))


def _is_as_saved(path: Path) -> bool:
    """The card that a model is saved with."""
    card = path.read_text(encoding="utf-8", errors="replace")
    return card.startswith("# Translator ") and "; saved by evokd." in card


def _usage(path: Path) -> str:
    """What a card says of how the model is used: all that a model is saved with, and of a card with
    scores what comes before these."""
    if not path.is_file():
        return ""
    text = path.read_text(encoding="utf-8")
    if text.startswith("---\n"):
        text = text.split("\n---\n", 1)[-1].lstrip("\n")
    return text.split("\n## ")[0].rstrip("\n") + "\n"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _behaviour(results: Results, system: str, seed: int | None) -> Iterator[str]:
    """How many lines of its output misbehave, by test set and direction."""
    rows = {}
    for (test_set, direction, name), records in results.behaviour.items():
        for record in records:
            if name == system and record["seed"] == seed:
                counts = {key: count for key, count in record.items() if _is_count(key, count)}
                rows[f"{test_set} {arrow(direction)}"] = counts
    kinds = list(dict.fromkeys(kind for counts in rows.values() for kind in counts))
    if rows:
        table = markdown_table(
            ["lines", *(kind.replace("_", " ") for kind in kinds)],
            [[place, *(str(one.get(kind, "–")) for kind in kinds)] for place, one in rows.items()],
        )
        yield f"## Behaviour\n\nOf the lines that it wrote, how many are:\n\n{table}\n"


def _is_count(key: str, value: Any) -> bool:
    return type(value) is int and key != "seed"


def _scores(results: Results, system: str, seed: int | None) -> Iterator[Record]:
    """Of this very student, each test set, metric and direction."""
    for (name, _, metric, direction), records in results.scores.items():
        if name == system and metric != BLEU_VS_TEACHER and direction != AVERAGE:
            yield from (one for one in records if one["seed"] == seed)


def _scores_of_export(compared: Sequence[Record]) -> Iterator[Record]:
    """Of what is in the folder itself, in the lines that were compared."""
    for row in compared:
        place = {"test_set": row["text"], "direction": row["direction"]}
        for metric in ("bleu", "chrf"):
            yield {**place, "metric": metric, "score": row[f"{metric}_export"]}


def _parity(compared: Sequence[Record]) -> str:
    """How far an export says what its student said."""
    headings = ["text", "lines", "the same", "BLEU, before", "BLEU", "chrF, before", "chrF"]
    keys = ("lines", "same_lines", "bleu_float", "bleu_export", "chrf_float", "chrf_export")
    rows = [
        [f"{row['text']} {arrow(row['direction'])}", *(str(row[key]) for key in keys)]
        for row in compared
    ]
    return f"## Beside the student before export\n\n{markdown_table(headings, rows)}\n"


def _eval_result(score: Record) -> EvalResult:
    return EvalResult(
        task_type="translation",
        task_name=f"Translation {score['direction']}",
        dataset_type=score["test_set"],
        dataset_name=score["test_set"],
        dataset_config=score["direction"],
        dataset_split="test",
        metric_type=_metric_id(score["metric"]),
        metric_name=describe(score["metric"]).label,
        metric_value=round(score["score"], 2),
        metric_config=score.get("signature"),
    )


def _tables(results: Results, system: str, before_export: bool) -> Iterator[str]:
    """A table a test set: the student, its teacher and the one that had no teacher."""
    when = ", before export" if before_export else ""
    shown = dict.fromkeys(["teacher", results.plain_student, system])
    for table in results.tables:
        headings = ["system", *(f"{describe(m).label} {arrow(d)}" for m, d in table.columns)]
        rows = [
            [row.system, *map(format_cell, row.cells.values())]
            for row in table.rows
            if row.system in shown
        ]
        notes = "".join(f"- {note}\n" for note in legend(results, table))
        yield f"## Scores on {table.test_set}{when}\n\n{markdown_table(headings, rows)}\n\n{notes}"


def _training(results: Results, recipe: Mapping[str, Any], system: str) -> str:
    """Method, models and text, as far as they aren't of one machine alone."""
    models = {name: (recipe.get(name) or {}).get("model") for name in ("teacher", "student")}
    cleaning = results.tree.get("cleaning") or {}
    run: Record = next(iter(results.runs.get(system) or []), {})
    facts = {
        "method": f"{system} ({results.objective(system)})",
        **{name: _told(model) for name, model in models.items() if model},
        "text": ", ".join(_texts(recipe)) or None,
        "pairs after cleaning": cleaning.get("kept"),
        "steps": run.get("train_steps"),
        "by": f"evokd {versions().get('evokd', '')}",
    }
    lines = [f"- {name}: {fact}" for name, fact in facts.items() if fact is not None]
    return "## Training\n\n" + "\n".join(lines) + "\n"


def _told(model: str) -> str:
    """A hub id as a link, a folder by its last part."""
    if model in ("fresh", "cut"):
        return {"fresh": "made from scratch", "cut": "cut from the teacher"}[model]
    hub_id = _hub_id(model)
    return f"[{hub_id}](https://huggingface.co/{hub_id})" if hub_id else Path(model).name


def _hub_id(model: Any) -> str | None:
    """A model's hub id; None for a file, a folder and what was made from scratch."""
    is_id = isinstance(model, str) and HUB_ID.fullmatch(model) and not Path(model).exists()
    return model if is_id and not model.endswith(".gguf") else None


def _datasets(recipe: Mapping[str, Any]) -> list[str]:
    """Hub data sets among the training text."""
    paths = [str(one.get("path")) for one in (recipe.get("corpus") or {}).get("train") or []]
    found = [re.match(r"hub:([\w.-]+/[\w.-]+)", path) for path in paths]
    return list(dict.fromkeys(one[1] for one in found if one))


def _texts(recipe: Mapping[str, Any]) -> list[str]:
    """The training text by its names; of a path its last part."""
    paths = [str(one.get("path")) for one in (recipe.get("corpus") or {}).get("train") or []]
    return list(dict.fromkeys(p if ":" in p else Path(p).name for p in paths))


def _languages(directions: Sequence[str]) -> list[str]:
    """Codes of two or three letters: pt for pt_BR."""
    codes = [re.split("[_@.]", side)[0] for one in directions for side in one.split("-")]
    return list(dict.fromkeys(codes))


def _metric_id(metric: str) -> str:
    """The hub's name of a metric."""
    return metric.split(":")[-1].rstrip("+")
