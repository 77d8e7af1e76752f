"""results.json: everything that a study found, put together from its files. Needs no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from evokd.data.corpus import Corpus
from evokd.evaluate.comparison import (
    SystemOutput,
    TestSet,
    behaviour_all,
    compare_all,
    gap_closed,
    score_all,
    summarise,
)
from evokd.recipe.recipe import Recipe
from evokd.rundir import read_json, versions

FEW_SEGMENTS = 100
"""Test sets with fewer get a caution."""
SYSTEM_FACTS = (
    *("parameters", "kept_step", "tokens_per_s"),
    *("hard_share_start", "hard_share_end", "noevo_loss_end", "valid_difficulty"),
)
OutputKey = tuple[str, str, str, int | None]
"""Test set, direction, system, seed."""


def assemble(
    recipe: Recipe,
    corpus: Corpus,
    translations: Mapping[OutputKey, Path],
    facts: Mapping[str, dict[str, Any]],
    init_facts: dict[str, Any],
    analysis: Sequence[dict[str, Any]] = (),
    teacher_text: Mapping[str, dict[str, Any]] | None = None,
    log: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Score, compare and describe the systems of a study.

    Args:
        translations: the file of each system's output on each test set and direction.
        facts: what each system's stage noted down, by label (system, or system.seedN).
        init_facts: what is known of the students' common start.
        analysis: what was measured of systems beside their scores, a row each.
        teacher_text: what is known of the text that the teacher wrote, by kind.
    """
    tests = test_sets(corpus)
    outputs, speed = [], []
    for (name, direction, system, seed), path in translations.items():
        lines, decoding = read_translations(path), read_json(path.with_suffix(".json"))
        cut_off = set(decoding["cut_off"])
        flags = [number in cut_off for number in range(1, len(lines) + 1)]
        outputs.append(SystemOutput(system, seed, name, direction, lines, flags))
        output = {"system": system, "seed": seed, "test_set": name, "direction": direction}
        shown = ("words_per_s", "seconds", "batch_size", "beam", "dtype", "device")
        speed.append(output | {key: decoding[key] for key in shown})
    metrics = list(recipe.scoring.metrics)
    baseline = recipe.baseline()
    log("scoring …")
    scores = score_all(outputs, tests, metrics)
    log(
        f"comparing with {baseline}: paired bootstrap, {recipe.scoring.bootstrap_samples} samples …"
    )
    comparisons = compare_all(
        outputs, tests, baseline, metrics, n_samples=recipe.scoring.bootstrap_samples
    )
    student = next((m.name for m in recipe.methods if m.kind() == "sft"), None)
    return {
        "evokd": versions().get("evokd", ""),
        "name": recipe.name,
        "title": recipe.report.title or f"{recipe.name}: teacher and students",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "directions": list(recipe.directions),
        "baseline": baseline,
        "seeds": list(recipe.seeds),
        "methods": list(recipe.students()),
        "start": init_facts,
        "systems": _systems(recipe, facts),
        "scores": scores,
        "comparisons": comparisons,
        "summary": summarise(scores),
        "gap_closed": gap_closed(scores, student=student) if student else [],
        "behaviour": behaviour_all(outputs, tests),
        "speed": speed,
        "analysis": list(analysis),
        "examples": _examples(recipe, tests, outputs),
        "cleaning": corpus.report,
        "teacher_text": dict(teacher_text or {}),
        "versions": versions() | _machine(facts),
        "notes": _notes(recipe, corpus, init_facts, facts),
    }


def test_sets(corpus: Corpus) -> list[TestSet]:
    """The tests of a study, as scoring takes them."""
    return [
        TestSet(name, direction, [p.source for p in pairs], [[p.target for p in pairs]])
        for (name, direction), pairs in corpus.tests.items()
    ]


def read_translations(path: Path) -> list[str]:
    """The lines of a file that a decoding wrote, one per segment."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def _systems(recipe: Recipe, facts: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    rows = [
        _system("teacher", None, "sft" if recipe.teacher.sft else "given", {}, facts["teacher"])
    ]
    for seed in recipe.seeds:
        for name, method in recipe.students().items():
            settings = method.model_dump(mode="json", exclude={"name", "objective", "training"})
            for key in ("lam", "beta", "alpha"):
                if settings[key] is None:
                    settings[key] = getattr(method, f"constant_{key}")()
            kind = method.kind() if name == method.name else "pruned"
            rows.append(_system(name, seed, kind, settings, facts[f"{name}.seed{seed}"]))
    return rows


def _system(
    name: str, seed: int | None, objective: str, settings: dict[str, Any], facts: dict[str, Any]
) -> dict[str, Any]:
    row = {"system": name, "seed": seed, "objective": objective, "settings": settings}
    row |= {"train_seconds": facts.get("train_seconds"), "train_steps": facts.get("steps")}
    return row | {key: facts.get(key) for key in SYSTEM_FACTS}


def _examples(
    recipe: Recipe, tests: list[TestSet], outputs: list[SystemOutput]
) -> list[dict[str, Any]]:
    """Sentences spread evenly over each test set, with what every system made of them."""
    per_test = -(-recipe.report.examples // max(1, len(tests)))
    rows = []
    for test in tests:
        translations = {
            o.system: o.hypotheses
            for o in outputs
            if o.cell == (test.name, test.direction) and o.seed in (None, recipe.seeds[0])
        }
        sources = list(test.sources or [])
        for k in range(min(per_test, len(sources))):
            line = (2 * k + 1) * len(sources) // (2 * per_test) if per_test < len(sources) else k
            rows.append(
                {
                    "test_set": test.name,
                    "direction": test.direction,
                    "line": line + 1,
                    "source": sources[line],
                    "reference": test.references[0][line],
                    "translations": {system: lines[line] for system, lines in translations.items()},
                }
            )
    return rows


def _machine(facts: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    devices = {own["device"] for own in facts.values() if "device" in own}
    return {"cpu_count": os.cpu_count(), "device": ", ".join(sorted(devices)) or None}


def _notes(
    recipe: Recipe, corpus: Corpus, start: dict[str, Any], facts: Mapping[str, dict[str, Any]]
) -> list[str]:
    notes = list(corpus.report.get("notes", []))
    if "teacher_nll" in start and start["teacher_nll"] >= start["student_nll"]:
        notes.append(
            "The teacher was no better than the student on validation before training: "
            f"{start['teacher_nll']:.3f} against {start['student_nll']:.3f} nats per token."
        )
    for (name, direction), pairs in corpus.tests.items():
        if len(pairs) < FEW_SEGMENTS:
            notes.append(
                f"{name} {direction} has only {len(pairs)} segments: differences between systems "
                "say little, whatever their p-values."
            )
    damped = {m.name for m in recipe.methods if m.objective == "self_evolution"}
    for label, own in facts.items():
        if own.get("hard_share_end", 0) > 0.5 and label.rpartition(".seed")[0] in damped:
            notes.append(
                f"{label}: {own['hard_share_end']:.0%} of the tokens were still hard at the end; "
                "the method damps the gradient of hard tokens, so it learned from few."
            )
    if len(recipe.seeds) == 1:
        notes.append(
            "One seed: p-values speak of the test sentences only, not of another training run."
        )
    return notes
