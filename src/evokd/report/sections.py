"""What sections of the page show: values as the template puts them in."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from evokd.data.hypotheses import WORD
from evokd.evaluate.behaviour import KINDS
from evokd.recipe.methods import MethodSettings
from evokd.recipe.objectives import GAMMA_RULES, OBJECTIVES, ObjectiveSettings
from evokd.report.formatting import DASH, arrow, count, decimal, duration, percent, whole
from evokd.report.results import Record, Results, mean_of
from evokd.report.sentences import link
from evokd.report.tables import Grid

SYMBOLS = {
    name: field.title for name, field in ObjectiveSettings.model_fields.items() if field.title
}
EFFORT = {
    "parameters": count,
    "train_steps": whole,
    "train_seconds": duration,
    "tokens_per_s": whole,
    "peak_mib": whole,
}
KEYS = MethodSettings.model_fields.keys()
"""A method's own; others are of extras."""
USUAL = {"gate": "hard", "doubt": 2.0, "difficulty": "kl", "text": "reference"}
"""What is told of a method only where it isn't this."""
USUAL_TRAINING = {"optimizer": "adamw", "weights": "float32"}
"""The same of its training."""
TITLES = {
    "filtered": "What the teacher believes of the training text",
    "teacher": "The teacher’s translations",
    "nearest": "The teacher’s translations nearest to the references",
}
REPAIRED = Markup(
    '<span dir="auto">{}</span> → <span dir="auto">{}</span> <span class="note">{}</span>'
)
SHOWN = 160  # characters of an example
SEEN = Markup('<span data-see="{}">{}</span>')
EXAMPLE = Markup(
    '<span dir="auto">{}</span> ⟷ <span dir="auto">{}</span> <span class="note">{}</span>'
)


def training_notes(results: Results) -> dict[str, str]:
    """System → how it was trained, where its name doesn't say it."""
    objectives = {name: results.objective(name) for name in results.students}
    notes = {name: objective for name, objective in objectives.items() if objective != name}
    notes |= {name: "no teacher" for name, one in objectives.items() if one == "sft"}
    adapted = {name: runs[0]["lora"] for name, runs in results.runs.items() if runs[0].get("lora")}
    for name, words in adapted.items():
        notes[name] = ", ".join(filter(None, [notes.get(name), words]))
    if quantized := results.start.get("teacher_quantized"):
        parts = notes.get("teacher"), f"its weights in {quantized['format']}"
        notes["teacher"] = ", ".join(filter(None, parts))
    return notes


def differing_words(text: str, reference: str) -> list[tuple[str, bool]]:
    """A line in runs of words (spaces kept) and whether they differ from the reference.

    Scripts without spaces (Chinese, Japanese, …) are compared character by character.
    """
    pattern = rf"(?:{WORD.pattern})\s*"
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
        effort = [write(mean_of(run.get(key) for run in runs)) for key, write in EFFORT.items()]
        start = mean_of(run.get("hard_share_start") for run in runs)
        end = mean_of(run.get("hard_share_end") for run in runs)
        hard = percent(end) if start is None else f"{percent(start)} → {percent(end)}"
        if end is None or not results.on_references(name):
            hard = DASH
        # on validation where there is such text: training text isn't the same for all
        losses = [
            run.get("noevo_loss_end" if run.get("valid_difficulty") is None else "valid_difficulty")
            for run in runs
        ]
        objective = str(runs[0].get("objective") or DASH)
        effort.insert(-1, _arithmetic(runs))
        return [name, objective, _settings(runs[0]), *effort, hard, decimal(mean_of(losses), 3)]

    headings = ["objective", "settings", "parameters", "steps", "time", "tokens/s"]
    headings += ["GFLOP/s (of peak)", "peak MiB", "hard tokens"]
    rows = [row(name, results.runs[name]) for name in results.systems if name in results.runs]
    return Grid(["system", *headings, "common loss"], {"": rows})


def _arithmetic(runs: list[Record]) -> str:
    """Model FLOP/s of a device, and their share of its peak where that is known."""
    rate = mean_of(run.get("flops_per_s") for run in runs)
    share = mean_of(run.get("mfu") for run in runs)
    if rate is None:
        return DASH
    return whole(rate / 1e9) + ("" if share is None else f" ({percent(share)})")


def behaviour(results: Results) -> Grid:
    """By test set and direction: how often outputs misbehave; seeds are added up. A count leads to
    its sentences."""
    rows = [row for records in results.behaviour.values() for row in records]
    kinds = [kind for kind in KINDS if any(row.get(kind) is not None for row in rows)]

    def total(records: list[Record], key: str) -> str:
        known = [record[key] for record in records if record.get(key) is not None]
        if not any(known) or key not in kinds:
            return whole(sum(known)) if known else DASH
        where = (records[0][label] for label in ("test_set", "direction", "system"))
        return SEEN.format(link(*where, kind=key, sort="line"), whole(sum(known)))

    groups: dict[str, list[list[str]]] = {}
    directions = {}
    for test_set, direction in dict.fromkeys(place[:2] for place in results.behaviour):
        title = f"{test_set} · {arrow(direction)}"
        own, directions[title] = groups.setdefault(title, []), direction
        for name in results.systems:
            if records := results.behaviour.get((test_set, direction, name)):
                counts = [total(records, key) for key in (*kinds, "segments")]
                length_ratio = mean_of(record.get("length_ratio") for record in records)
                own.append([name, *counts, decimal(length_ratio, 2)])
    names = [kind.replace("_", " ") for kind in kinds]
    return Grid(["system", *names, "of", "length"], groups, directions=directions)


def families(results: Results) -> dict[str, str]:
    """System → what kind of training it is, as the tables can be filtered by."""
    return {name: _family(results, name) for name in results.runs}


def _family(results: Results, name: str) -> str:
    objective, settings = results.objective(name), results.settings(name)
    if name == "teacher" or objective == "pruned":
        return "teacher" if name == "teacher" else "pruned"
    if settings.get("on_policy"):
        return "on-policy"
    if settings.get("text", "reference") != "reference":
        return "teacher’s text"
    spec = OBJECTIVES.get(objective)
    if spec is None or not spec.needs_teacher:
        return "no teacher" if spec else "other"
    return "gated" if {"gate", "top_percent"} & {*spec.settings} else "every token"


def speed(results: Results) -> Grid:
    """Source words per second over everything that a system translated."""
    slow = results.words_per_s.get("teacher")
    keys = {"batch_size": "batch", "beam": "beam", "dtype": "dtype", "device": "device"}
    if any(results.decoding(name, "engine") for name in results.speed):
        keys |= {"engine": "engine", "same_lines": "as evokd’s own"}
    rows = []
    for name in results.systems:
        if name in results.speed:
            rate = results.words_per_s[name]
            factor = f"{rate / slow:.1f}×" if rate and slow else DASH
            decoding = [", ".join(results.decoding(name, key)) or DASH for key in keys]
            rows.append([name, whole(rate), factor, *decoding])
    return Grid(["system", "words/s", "× teacher", *keys.values()], {"": rows})


def gates(results: Results) -> Grid | None:
    """How well gates told tokens that were made wrong on purpose, before training."""
    rows = []
    for row in results.start.get("gates") or []:
        name = "self_evolution" if row["doubt"] is None else "vouched"
        numbers = [row["gamma"], row["doubt"]]
        shares = [percent(row[key]) for key in ("damped", "precision", "recall")]
        rows.append([name, *(DASH if n is None else f"{n:g}" for n in numbers), *shares])
    return Grid(["gate", "Γ", "δ", "damped", "precision", "recall"], {"": rows}) if rows else None


def stages(results: Results) -> dict[str, dict[str, str]]:
    """What the teacher's training and the students' common start noted down: simple values."""
    stages = {}
    for stage, title in (("teacher", "Teacher"), ("start", "The students’ common start")):
        manifest = results.files.manifest(stage)
        noted = {**(manifest.get("facts") or {})}
        if stage == "start":
            noted |= results.start
        texts = {key: _value(value) for key, value in noted.items()}
        if manifest.get("wall_s"):
            texts["time"] = duration(manifest["wall_s"])
        stages[title] = {key: text for key, text in texts.items() if text}
    return {title: texts for title, texts in stages.items() if texts}


def cleaning(results: Results) -> dict[str, Any] | None:
    """What was dropped from the training text and why."""
    return _sifted(results.tree.get("cleaning") or {})


def teacher_texts(results: Results) -> list[dict[str, Any]]:
    """What the teacher wrote or filtered, what was left out and why; one for each kind."""
    texts = []
    for kind, record in (results.tree.get("teacher_text") or {}).items():
        facts = {
            "beam": whole(record.get("beam")),
            "translations of each source": whole(record.get("candidates")),
            "sources": whole(record.get("sentences")),
            "tokens written": whole(record.get("tokens")),
        }
        if "mass_of_best" in record:
            facts["mean probability of the first"] = percent(record["mass_of_best"] / 100)
        for direction, noted in (record.get("engine") or {}).items():
            facts[f"engine, {arrow(direction)}"] = noted["engine"]
            if noted["same_lines"] is not None:
                facts[f"lines as evokd’s own, {arrow(direction)}"] = percent(noted["same_lines"])
        for direction, wrong in (record.get("wrong") or {}).items():
            facts[f"wrong by estimate, {arrow(direction)}"] = percent(wrong["share"])
        if "bleu_of_nearest" in record:
            facts["sentence BLEU of the first"] = decimal(record["bleu_of_best"], 1)
            facts["sentence BLEU of the nearest"] = decimal(record["bleu_of_nearest"], 1)
        if sifted := _sifted(record.get("sifted") or {}):
            texts.append({"title": TITLES.get(kind, kind), "facts": facts, **sifted})
    return texts


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
    training: Mapping[str, Any] = run.get("training") or {}
    shown += [
        (key, training[key])
        for key, usual in USUAL_TRAINING.items()
        if training.get(key, usual) != usual
    ]
    if run.get("lora"):
        shown.append((run["lora"], ""))
    return " · ".join(f"{name} {_setting(value)}".rstrip() for name, value in shown) or DASH


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


def visible(text: str) -> str:
    """A text whose invisible characters are written out, the space apart: "a\\u200bb"."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _sifted(report: Record) -> dict[str, Any] | None:
    """Of pairs read: how many were kept, and what became of the others."""
    read, kept = report.get("read"), report.get("kept")
    if not read:
        return None
    groups = {
        "dropped": report.get("reasons"),
        "put right": report.get("repairs"),
        "kept, but odd": report.get("warnings"),
    }
    drops = {
        title: [_drop_row(reason, dropped, read) for reason, dropped in reasons.items()]
        for title, reasons in groups.items()
        if reasons
    }
    return {
        "read": whole(read),
        "kept": whole(kept),
        "share": DASH if kept is None else percent(kept / read),
        "repaired": whole(report.get("repaired")),
        "drops": Grid(["why", "pairs", "share", "first example"], drops),
    }


def _drop_row(reason: str, dropped: Record, read: int) -> list[str]:
    first: Record = next(iter(dropped.get("examples") or []), {})
    source, target, origin = (first.get(key, "") for key in ("source", "target", "origin"))
    example = EXAMPLE.format(_short(source), _short(target), origin) if source or target else ""
    for side, before in (("source_became", source), ("target_became", target)):
        if first.get(side, before) != before:  # the first side that was put right
            example = REPAIRED.format(_short(visible(before)), _short(first[side]), origin)
            break
    share = percent(dropped["count"] / read)
    return [reason.replace("_", " "), whole(dropped["count"]), share, example]
