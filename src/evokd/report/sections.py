"""What each section of the page shows, as plain dicts for the template; no HTML in here."""

from __future__ import annotations

import difflib
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from evokd.recipe.metrics import describe
from evokd.report.formatting import arrow, count, decimal, duration, percent, whole
from evokd.report.results import (
    Cell,
    Results,
    columns,
    focus_system,
    main_table,
    names_of_test_sets,
    objectives_of,
    on_references,
    plain_student,
    systems,
)
from evokd.report.tables import (
    DASH,
    closeness,
    format_cell,
    format_gap,
    legend,
    signatures,
)

Diagnostics = Mapping[str, Sequence[Mapping[str, Any]]]
"""Name ("start", systems) → diagnostics.json of each seed."""

SHADE_FULL = 2.0
"""Difficulty in nats from which a token's background gets no darker."""
SENTENCES_PER_DIRECTION = 2
OPEN_EXAMPLES = 2
MISBEHAVIOUR = {
    "empty": "empty",
    "copied": "copied",
    "over_long": "over-long",
    "cut_off": "cut off",
    "repeated": "looping",
}
SYMBOLS = {
    **{"lam": "λ", "beta": "β", "gamma": "Γ", "top_percent": "top %", "alpha": "α", "mu": "μ"},
    **{"smoothing": "ε", "queue": "queue", "averaging": "averaging"},
}
USED = {
    "forward_kd": ("lam",),
    "reverse_kd": ("lam",),
    "noevo": ("lam",),
    "skew": ("lam", "beta"),
    "skew_teacher": ("lam", "beta"),
    "self_evolution": ("lam", "beta", "gamma"),
    "self_evolution_topk": ("lam", "beta", "top_percent"),
    "sft": (),
    "seq_kd": (),
    "seq_inter": (),
    "word_kd": ("alpha",),
    "atkd": ("lam", "top_percent", "averaging"),
    "skl": ("alpha",),
    "srkl": ("alpha",),
    "jsd": ("beta",),
    "akl": ("mu",),
    "selective_kd": ("top_percent", "smoothing", "queue"),
    "tip": ("top_percent",),
    "pruned": (),
}
"""Which settings an objective reads; the others would only mislead."""
UNUSUAL = {
    **{"gate": "hard", "difficulty": "kl", "text": "reference"},
    **{"start": None, "on_policy": None, "competence": None},
}
"""What is told of a method only where it isn't this."""


def score_tables(results: Results) -> list[dict[str, Any]]:
    """The main table of each test set."""
    tables = []
    for test_set in names_of_test_sets(results):
        wanted = columns(results, test_set)
        metrics = list(dict.fromkeys(metric for metric, _ in wanted))
        rows = main_table(results, test_set)
        tables.append(
            {
                "test_set": test_set,
                "groups": [
                    (describe(m).label, sum(m == other for other, _ in wanted)) for m in metrics
                ],
                "directions": [
                    (arrow(direction), i > 0 and wanted[i - 1][0] != metric)
                    for i, (metric, direction) in enumerate(wanted)
                ],
                "rows": [
                    {
                        "system": row.system,
                        "gloss": _gloss(results, row.system),
                        "cells": [_score(row.cells[column]) for column in wanted],
                        "gap": format_gap(row),
                    }
                    for row in rows
                ],
                "has_gap": any(row.gap is not None for row in rows),
                "legend": legend(results, test_set),
                "signatures": signatures(results, test_set),
            }
        )
    return tables


def translations(results: Results) -> list[dict[str, Any]]:
    """Sentences side by side; words that the reference hasn't in this order are marked."""
    order = systems(results)
    found = []
    for i, example in enumerate(results.get("examples") or []):
        reference = example["reference"]
        made = example.get("translations") or {}
        found.append(
            {
                "where": f"{arrow(example['direction'])} · {example['test_set']} · "
                f"line {example['line']}",
                "source": example["source"],
                "reference": reference,
                "open": i < OPEN_EXAMPLES,
                "rows": [
                    {
                        "system": name,
                        "words": differing_words(made[name], reference),
                        "closeness": round(100 * closeness(made[name], reference)),
                    }
                    for name in [*order, *(name for name in made if name not in order)]
                    if name in made
                ],
            }
        )
    return found


def differing_words(text: str, reference: str) -> list[tuple[str, bool]]:
    """A line in runs of words (spaces kept) and whether they differ from the reference.

    Lines without spaces (Chinese, Japanese, …) are compared character by character.
    """
    pattern = r"\S+\s*" if " " in reference.strip() else r"\S\s*"
    words, wanted = re.findall(pattern, text), re.findall(pattern, reference)
    matcher = difflib.SequenceMatcher(
        a=[word.strip() for word in wanted], b=[word.strip() for word in words], autojunk=False
    )
    runs: list[tuple[str, bool]] = []
    for kind, _, _, start, end in matcher.get_opcodes():
        if start < end:
            run = "".join(words[start:end])
            runs += [(run.rstrip(), kind != "equal"), (run[len(run.rstrip()) :], False)]
    return [(run, differs) for run, differs in runs if run]


def token_sentences(results: Results, diagnostics: Diagnostics) -> dict[str, Any] | None:
    """The first validation sentences of each direction, token by token, before and after."""
    focus = focus_system(results)
    after = focus if focus and diagnostics.get(focus) else None
    if after is None:
        after = next((name for name in diagnostics if name != "start" and diagnostics[name]), None)
    names = [name for name in ("start", after) if name and diagnostics.get(name)]
    if not names:
        return None
    anchor = diagnostics[names[-1]][0]
    shown: dict[str, list[dict[str, Any]]] = {}
    for sentence in anchor.get("sentences") or []:
        own = shown.setdefault(sentence["direction"], [])
        if len(own) < SENTENCES_PER_DIRECTION:
            own.append(_token_sentence(sentence, names, diagnostics))
    sentences = [sentence for own in shown.values() for sentence in own]
    if not sentences:
        return None
    gamma = anchor.get("gamma")
    steps = [0.0, *([gamma] if gamma else []), 1.0, SHADE_FULL]
    return {
        "system": names[-1],
        "gamma": gamma,
        "sentences": sentences,
        "scale": [
            {
                "shade": shade(d),
                "text": f"{d:g}{'+' if d == SHADE_FULL else ''}",
                "hard": gamma and d > gamma,
            }
            for d in sorted(set(steps))
        ],
    }


def shade(difficulty: float) -> str:
    """Opacity of a token's background, 0 to 0.6: dark text stays readable on it."""
    return f"{0.6 * min(1.0, max(0.0, difficulty) / SHADE_FULL) ** 0.7:.3f}"


def training(results: Results) -> list[dict[str, str]]:
    """One row a system: size, settings, effort and where its training ended; means over seeds."""
    rows = []
    for name in systems(results):
        runs = [row for row in results.get("systems") or [] if row["system"] == name]
        if not runs:
            continue
        hard = [
            _mean(run.get(key) for run in runs) for key in ("hard_share_start", "hard_share_end")
        ]
        rows.append(
            {
                "system": name,
                "objective": str(runs[0].get("objective") or DASH),
                "settings": _settings(runs[0]),
                "parameters": count(_mean(run.get("parameters") for run in runs)),
                "steps": whole(_mean(run.get("train_steps") for run in runs)),
                "time": duration(_mean(run.get("train_seconds") for run in runs)),
                "tokens_per_s": whole(_mean(run.get("tokens_per_s") for run in runs)),
                "hard": DASH
                if hard[1] is None or not on_references(results, name)
                else f"{percent(hard[0])} → {percent(hard[1])}"
                if hard[0] is not None
                else percent(hard[1]),
                "loss": decimal(_mean(_common_loss(run) for run in runs), 3),
            }
        )
    return rows


def behaviour(results: Results) -> list[dict[str, Any]]:
    """By test set and direction: how often outputs misbehave; seeds are added up."""
    cells: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for row in results.get("behaviour") or []:
        own = cells.setdefault((row["test_set"], row["direction"]), {})
        own.setdefault(row["system"], []).append(row)
    return [
        {
            "where": f"{test_set} · {arrow(direction)}",
            "rows": [
                {
                    "system": name,
                    "counts": [_count_of(own[name], key) for key in MISBEHAVIOUR],
                    "segments": whole(sum(row["segments"] for row in own[name])),
                    "length_ratio": decimal(_mean(r.get("length_ratio") for r in own[name]), 2),
                }
                for name in systems(results)
                if name in own
            ],
        }
        for (test_set, direction), own in cells.items()
    ]


def speed(results: Results) -> list[dict[str, Any]]:
    """One row a system: source words per second over everything that it translated."""
    rows = []
    rates = {}
    for name in systems(results):
        own = [row for row in results.get("speed") or [] if row["system"] == name]
        seconds = sum(row.get("seconds") or 0 for row in own)
        words = sum((row.get("seconds") or 0) * (row.get("words_per_s") or 0) for row in own)
        if own:
            rates[name] = words / seconds if seconds else None
            rows.append(
                {
                    "system": name,
                    "words_per_s": whole(rates[name]),
                    **{key: _values(own, key) for key in ("batch_size", "beam", "dtype", "device")},
                }
            )
    slow = rates.get("teacher")
    for row in rows:
        rate = rates[row["system"]]
        row["factor"] = f"{rate / slow:.1f}×" if rate and slow else DASH
    return rows


def facts_of(manifest: Mapping[str, Any], start: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A stage's own numbers as (name, value): simple values only."""
    merged = {**(manifest.get("facts") or {}), **start}
    pairs = [(key.replace("_", " "), _value(value)) for key, value in merged.items()]
    if manifest.get("wall_s"):
        pairs.append(("time", duration(manifest["wall_s"])))
    return [(key, value) for key, value in pairs if value]


def _gloss(results: Results, system: str) -> str:
    if system == "teacher":
        return ""
    if system == plain_student(results):
        return "no teacher"
    objective = objectives_of(results).get(system)
    return str(objective) if objective and objective != system else ""


def _score(cell: Cell) -> dict[str, Any]:
    mean = format_cell(replace(cell, std=None, mark=""))
    spread = "" if cell.std is None else f"± {cell.std:.2f}"
    return {"mean": mean, "spread": spread, "mark": cell.mark, "best": cell.best}


def _token_sentence(
    sentence: Mapping[str, Any], names: Sequence[str], diagnostics: Diagnostics
) -> dict[str, Any]:
    key = (sentence["direction"], sentence["source"], sentence["reference"])
    versions = []
    for name in names:
        twin = next(
            (
                other
                for other in diagnostics[name][0].get("sentences") or []
                if (other["direction"], other["source"], other["reference"]) == key
            ),
            None,
        )
        if twin is not None:
            difficulties = [token["difficulty"] for token in twin["tokens"]]
            versions.append(
                {
                    "name": name,
                    "tokens": [_token(token) for token in twin["tokens"]],
                    "hard": sum(bool(token["hard"]) for token in twin["tokens"]),
                    "mean": f"{statistics.fmean(difficulties):.2f}" if difficulties else DASH,
                }
            )
    return {
        "direction": arrow(sentence["direction"]),
        "source": sentence["source"],
        "versions": versions,
    }


def _token(token: Mapping[str, Any]) -> dict[str, Any]:
    told = f"d {token['difficulty']:.2f}"
    for key, label in (("student_nll", "student"), ("teacher_nll", "teacher")):
        if token.get(key) is not None:
            told += f" · −ln {label} {token[key]:.2f}"
    # an end token or a newline has no face of its own
    text = token["text"].replace("\n", "⏎") or "∎"
    word = text.lstrip(" ") or text
    return {
        "space": text.removesuffix(word),
        "text": word,
        "shade": shade(token["difficulty"]),
        "hard": bool(token["hard"]),
        "title": f"{told} (nats){' · hard' if token['hard'] else ''}",
    }


def _common_loss(run: Mapping[str, Any]) -> float | None:
    """On validation where there is such text: training text isn't the same for all."""
    on_validation = run.get("valid_difficulty")
    return run.get("noevo_loss_end") if on_validation is None else on_validation


def _settings(run: Mapping[str, Any]) -> str:
    settings = run.get("settings") or {}
    wanted = USED.get(run.get("objective") or "", tuple(SYMBOLS))
    parts = []
    for key in wanted:
        value = settings.get(key)
        if value is not None and run["system"] != "teacher":
            parts.append(f"{SYMBOLS[key]} {_setting(value)}")
    for key, usual in UNUSUAL.items():
        value = settings.get(key)
        if value is not None and value != usual:
            parts.append(f"{key.replace('_', ' ')} {_setting(value)}")
    return " · ".join(parts) or DASH


def _setting(value: Any) -> str:
    """A number, a schedule as 0.5 → 0.0, a rule by its name and what it takes."""
    if not isinstance(value, dict):
        return str(value)
    rule = value.get("rule")
    takes = {"quantile": "hard_share", "running_quantile": "hard_share", "running_mean": "k"}
    if rule in takes:
        return f"{rule} {value.get(takes[rule])}"
    if "start" in value:
        course = f"{value['start']} → {value.get('end')}"
        return course if rule is None else f"{rule} {course}"
    return ", ".join(f"{key} {one}" for key, one in value.items() if one)


def _count_of(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    found = [row[key] for row in rows if row.get(key) is not None]
    return whole(sum(found)) if found else DASH


def _values(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    found = dict.fromkeys(str(row[key]) for row in rows if row.get(key) is not None)
    return ", ".join(found) or DASH


def _value(value: Any) -> str:
    """A simple value as text; nested ones are left to the files."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return whole(value)
    return value if isinstance(value, str) else ""


def _mean(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return statistics.fmean(found) if found else None
