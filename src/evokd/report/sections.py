"""What each section of the page shows, as plain values for the template; no HTML in here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evokd.recipe.methods import MethodSettings
from evokd.recipe.objectives import GAMMA_RULES, OBJECTIVES, ObjectiveSettings
from evokd.report.formatting import DASH, arrow, count, decimal, duration, percent, whole
from evokd.report.results import Record, Results, Table, mean_of
from evokd.report.tables import closeness, legend, signatures

OPEN_EXAMPLES = 2
MISBEHAVIOUR = {
    **{"empty": "empty", "copied": "copied", "over_long": "over-long"},
    **{"cut_off": "cut off", "repeated": "looping"},
}
SYMBOLS = {
    name: field.title for name, field in ObjectiveSettings.model_fields.items() if field.title
}
KEYS = MethodSettings.model_fields.keys()
"""A method's own; others are of extras."""
USUAL = {"gate": "hard", "difficulty": "kl", "text": "reference"}
"""What is told of a method only where it isn't this."""


@dataclass(frozen=True)
class Grid:
    """A table of the page: groups of rows, each with a title, whose first cell is a system."""

    headings: list[str]
    groups: list[tuple[str, list[list[str]]]]


def score_tables(results: Results) -> list[tuple[Table, list[str], list[str]]]:
    """The main table of each test set, with its legend and signatures."""
    return [
        (table, legend(results, table), signatures(results, table.test_set))
        for table in results.tables
    ]


def training_notes(results: Results) -> dict[str, str]:
    """System → how it was trained, where its name doesn't say it."""
    objectives = {name: results.objective(name) for name in results.students}
    notes = {name: objective for name, objective in objectives.items() if objective != name}
    return notes | {name: "no teacher" for name in [results.plain_student] if name}


def translations(results: Results) -> list[dict[str, Any]]:
    """Sentences side by side; words that the reference hasn't in this order are marked."""
    examples = []
    for i, example in enumerate(results.examples):
        reference, made = example["reference"], example.get("translations") or {}
        place = (arrow(example["direction"]), example["test_set"], f"line {example['line']}")
        examples.append(
            {
                "where": " · ".join(place),
                "source": example["source"],
                "reference": reference,
                "open": i < OPEN_EXAMPLES,
                "rows": [
                    {
                        "system": name,
                        "words": differing_words(made[name], reference),
                        "closeness": round(100 * closeness(made[name], reference)),
                    }
                    for name in dict.fromkeys([*results.systems, *made])
                    if name in made
                ],
            }
        )
    return examples


def differing_words(text: str, reference: str) -> list[tuple[str, bool]]:
    """A line in runs of words (spaces kept) and whether they differ from the reference.

    Lines without spaces (Chinese, Japanese, …) are compared character by character.
    """
    pattern = r"\S+\s*" if " " in reference.strip() else r"\S\s*"
    words, expected = re.findall(pattern, text), re.findall(pattern, reference)
    matcher = difflib.SequenceMatcher(
        a=[word.strip() for word in expected], b=[word.strip() for word in words], autojunk=False
    )
    runs: list[tuple[str, bool]] = []
    for kind, _, _, start, end in matcher.get_opcodes():
        if start < end:
            run = "".join(words[start:end])
            runs += [(run.rstrip(), kind != "equal"), (run[len(run.rstrip()) :], False)]
    return [(run, differs) for run, differs in runs if run]


def training(results: Results) -> Grid:
    """Size, settings, effort and where training ended; means over seeds."""

    def row(name: str, runs: list[Record]) -> list[str]:
        def mean(key: str) -> float | None:
            return mean_of(run.get(key) for run in runs)

        start, end = mean("hard_share_start"), mean("hard_share_end")
        # on validation where there is such text: training text isn't the same for all
        losses = [
            run.get("noevo_loss_end" if run.get("valid_difficulty") is None else "valid_difficulty")
            for run in runs
        ]
        hard = percent(end) if start is None else f"{percent(start)} → {percent(end)}"
        return [
            name,
            str(runs[0].get("objective") or DASH),
            _settings(runs[0]),
            count(mean("parameters")),
            whole(mean("train_steps")),
            duration(mean("train_seconds")),
            whole(mean("tokens_per_s")),
            DASH if end is None or not results.on_references(name) else hard,
            decimal(mean_of(losses), 3),
        ]

    headings = ["objective", "settings", "parameters", "steps", "time", "tokens/s", "hard tokens"]
    rows = [row(name, results.runs[name]) for name in results.systems if name in results.runs]
    return Grid(["system", *headings, "common loss"], [("", rows)] if rows else [])


def behaviour(results: Results) -> Grid:
    """By test set and direction: how often outputs misbehave; seeds are added up."""

    def total(records: list[Record], key: str) -> str:
        known = [record[key] for record in records if record.get(key) is not None]
        return whole(sum(known)) if known else DASH

    groups = []
    for test_set, direction in dict.fromkeys(place[:2] for place in results.behaviour):
        rows = []
        for name in results.systems:
            if records := results.behaviour.get((test_set, direction, name)):
                counts = [total(records, key) for key in (*MISBEHAVIOUR, "segments")]
                length_ratio = mean_of(record.get("length_ratio") for record in records)
                rows.append([name, *counts, decimal(length_ratio, 2)])
        groups.append((f"{test_set} · {arrow(direction)}", rows))
    return Grid(["system", *MISBEHAVIOUR.values(), "of", "length"], groups)


def speed(results: Results) -> Grid:
    """Source words per second over everything that a system translated."""

    def values(records: list[Record], key: str) -> str:
        known = dict.fromkeys(str(r[key]) for r in records if r.get(key) is not None)
        return ", ".join(known) or DASH

    slow = results.words_per_s.get("teacher")
    rows = []
    for name in results.systems:
        if records := results.speed.get(name):
            rate = results.words_per_s[name]
            factor = f"{rate / slow:.1f}×" if rate and slow else DASH
            decoding = [values(records, key) for key in ("batch_size", "beam", "dtype", "device")]
            rows.append([name, whole(rate), factor, *decoding])
    headings = ["system", "words/s", "× teacher", "batch", "beam", "dtype", "device"]
    return Grid(headings, [("", rows)] if rows else [])


def stages(results: Results) -> list[dict[str, Any]]:
    """What the teacher's training and the students' common start noted down: simple values."""
    stages = []
    for stage, title in (("teacher", "Teacher"), ("start", "The students’ common start")):
        manifest = results.manifest(stage)
        noted = {**(manifest.get("facts") or {})}
        if stage == "start":
            noted |= results.tree.get("start") or {}
        facts = [(key.replace("_", " "), _value(value)) for key, value in noted.items()]
        if manifest.get("wall_s"):
            facts.append(("time", duration(manifest["wall_s"])))
        facts = [(key, value) for key, value in facts if value]
        if facts:
            stages.append({"title": title, "facts": facts})
    return stages


def _settings(run: Record) -> str:
    settings: Mapping[str, Any] = run.get("settings") or {}
    spec = OBJECTIVES.get(run.get("objective") or "")
    shown = [
        (SYMBOLS[key], settings[key])
        for key in (spec.settings if spec else ())
        if key in SYMBOLS and settings.get(key) is not None
    ]
    shown += [
        (key.replace("_", " "), settings[key])
        for key in (*USUAL, "start", "on_policy", *sorted(settings.keys() - KEYS))
        if settings.get(key) not in (None, USUAL.get(key))
    ]
    return " · ".join(f"{name} {_setting(value)}" for name, value in shown) or DASH


def _setting(value: Any) -> str:
    """A number, a schedule as 0.5 → 0.0, a rule by its name and what it takes."""
    if not isinstance(value, dict):
        return str(value)
    rule = value.get("rule")
    takes = GAMMA_RULES[rule].settings if rule in GAMMA_RULES else ("start",)
    if takes[0] != "start":
        return f"{rule} {value.get(takes[0])}"
    if "start" in value:
        course = f"{value['start']} → {value.get('end')}"
        return course if rule is None else f"{rule} {course}"
    return ", ".join(f"{key} {one}" for key, one in value.items() if one)


def _value(value: Any) -> str:
    """A simple value as text; nested ones are left to the files."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return whole(value)
    return value if isinstance(value, str) else ""
