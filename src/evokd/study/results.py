"""results.json: everything that a study found, put together from its files. Needs no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from itertools import chain, product
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
from evokd.evaluate.judged import few_segments
from evokd.evaluate.sentences import SENTENCES, write_sentences
from evokd.recipe.code import code_hashes
from evokd.recipe.metrics import BUILT_IN
from evokd.recipe.recipe import Recipe
from evokd.report.results import Results
from evokd.rundir.files import fingerprint, hash_file, read_sealed
from evokd.rundir.records import write_record
from evokd.rundir.stage import Stage, manifest_in
from evokd.rundir.versions import versions
from evokd.study.context import Study
from evokd.study.evaluation import (
    read_translations,
    test_sets,
    translation_path,
    validation_scores,
)
from evokd.study.exporting import export_rows
from evokd.study.judging import judge_translations
from evokd.study.places import System
from evokd.study.quantization import words_of
from evokd.study.teacher_translations import summary

PLACES = ("corpus", "tokenizer", "teacher", "start", "gate")
"""Of stages that each study has."""
RESULTS = "results"
SYSTEM_FACTS = (
    *("parameters", "kept_step", "tokens_per_s", "flops_per_s", "mfu", "peak_mib"),
    *("lora", "trained_parameters"),
    *("hard_share_start", "hard_share_end", "noevo_loss_end", "valid_difficulty"),
)


def make_results(
    study: Study,
    corpus: Stage,
    systems: Sequence[System],
    init_facts: Mapping[str, Any],
    analysis: Sequence[Mapping[str, Any]],
    texts: Mapping[str, Stage],
    exports: Sequence[tuple[System, Stage]] = (),
) -> dict[str, Any]:
    """Scores, comparisons and everything else that the report shows, in results.json.

    Args:
        init_facts: what is known of the students' common start.
        analysis: what was measured of systems beside their scores, a row each.
        texts: the stages in which the teacher wrote training text, by kind.
        exports: students, and the stages in which they were exported.
    """
    recipe, log = study.recipe, study.log
    metrics, judged, missing = judge_translations(study, systems)
    for line in missing:
        log(f"note: {line}")
    made_of = results_made_of(study, corpus, systems, init_facts, texts, exports)
    made_of |= {"judged": judged} if judged else {}
    done = study.is_done_record(RESULTS, study.paths.results, made_of)
    if done and study.planned is not None:
        return {}
    tests = test_sets(study.corpus.tests)
    if done:
        found = read_sealed(study.paths.results)
        if not _is_of(study.folder / SENTENCES, found):  # these results were put aside meanwhile
            outputs, _ = _outputs(study, systems)
            write_sentences(study.folder, outputs, tests, metrics, found["behaviour"])
        return found
    teacher_text = {kind: summary(stage) for kind, stage in texts.items()}
    outputs, speed = _outputs(study, systems)
    baseline, samples = recipe.baseline(), recipe.scoring.bootstrap_samples
    log("scoring …")
    scores = score_all(outputs, tests, metrics)
    how: dict[str, Any] = {"n_samples": samples, "trials": 10 * samples}
    how["correction"] = recipe.scoring.correction
    log(f"comparing with {baseline}: {samples} resamples, {how['trials']} exchanges …")
    compared = compare_all(outputs, tests, baseline, metrics, **how)
    behaviour = behaviour_all(outputs, tests)
    write_sentences(study.folder, outputs, tests, metrics, behaviour)
    facts = {system.label: system.facts() for system in systems}
    devices = sorted({row["device"] for row in speed})
    stages = [*systems, *texts.values(), *(stage for _, stage in exports)]
    results = {
        "evokd": versions().get("evokd", ""),
        "name": recipe.name,
        "title": recipe.report.title or f"{recipe.name}: teacher and students",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "directions": list(recipe.directions),
        "baseline": baseline,
        "seeds": list(recipe.seeds),
        "methods": list(recipe.students()),
        "start": dict(init_facts),
        "systems": _systems(recipe, facts),
        "scores": scores,
        "comparisons": [row for row in compared if "runs" not in row],
        "pooled": [row for row in compared if "runs" in row],
        "significance": {"test": recipe.scoring.test, **how},
        "summary": summarise(scores),
        "validation": validation_scores(study, systems),
        "behaviour": behaviour,
        "speed": speed,
        "analysis": list(analysis),
        "exports": export_rows(study, exports),
        "examples": _examples(recipe, tests, outputs),
        "sentences": hash_file(study.folder / SENTENCES),
        "cleaning": study.corpus.report,
        "teacher_text": dict(teacher_text),
        "versions": versions() | {"cpu_count": os.cpu_count(), "device": ", ".join(devices)},
        "notes": [*_notes(recipe, study.corpus, init_facts, facts), *missing],
        "recipe": recipe.model_dump(mode="json"),
        "stages": {
            place: {key: manifest[key] for key in ("fingerprint", "finished", "wall_s", "versions")}
            for place in (*PLACES, *(stage.place for stage in stages))
            if (manifest := manifest_in(study.folder / place))
        },
    }
    student = Results(results, study.folder).plain_student
    results["gap_closed"] = gap_closed(scores, student=student) if student else []
    write_record(study.folder, study.paths.results, made_of, results)
    study.release()
    return read_sealed(study.paths.results)


def _outputs(
    study: Study, systems: Sequence[System]
) -> tuple[list[SystemOutput], list[dict[str, Any]]]:
    """What every system made of every test set, and how fast it was."""
    outputs, speed = [], []
    for (name, direction), system in product(study.corpus.tests, systems):
        path = translation_path(study, name, direction, system)
        lines, decoding = read_translations(path), read_sealed(path.with_suffix(".json"))
        cut_off = set(decoding["cut_off"])
        flags = [number in cut_off for number in range(1, len(lines) + 1)]
        outputs.append(SystemOutput(system.system, system.seed, name, direction, lines, flags))
        output = {"system": system.system, "seed": system.seed}
        output |= {"test_set": name, "direction": direction}
        shown = ("words_per_s", "seconds", "batch_size", "beam", "dtype", "device")
        by_engine = {key: decoding[key] for key in ("engine", "same_lines") if key in decoding}
        speed.append(output | {key: decoding[key] for key in shown} | by_engine)
    return outputs, speed


def _is_of(sentences: Path, results: Mapping[str, Any]) -> bool:
    """Whether the sentences are those of these results."""
    return sentences.is_file() and hash_file(sentences) == results.get("sentences")


def results_made_of(
    study: Study,
    corpus: Stage,
    systems: Sequence[System],
    init_facts: Mapping[str, Any],
    texts: Mapping[str, Stage],
    exports: Sequence[tuple[System, Stage]] = (),
) -> dict[str, Any]:
    """What the results of a study depend on."""
    recipe = study.recipe
    code = code_hashes(recipe.scoring.metrics, BUILT_IN, recipe.plugins)
    return (
        ({"code": code} if code else {})
        | {
            "name": recipe.name,
            "scoring": recipe.scoring.identity(),
            "report": recipe.report.identity(),
            "analysis": recipe.analysis.model_dump(mode="json"),
            "decoding": recipe.decoding.identity(),
            "corpus": corpus.fingerprint,
            "start": fingerprint(init_facts),
            "systems": {system.label: system.fingerprint for system in systems},
            "teacher_text": {kind: stage.fingerprint for kind, stage in texts.items()},
        }
        | ({"compared": recipe.compared()} if recipe.sweep else {})
        | ({"exports": [stage.fingerprint for _, stage in exports]} if exports else {})
    )


def _systems(recipe: Recipe, facts: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for the teacher and for each student; `facts` are of systems by their labels."""
    kinds, rows = recipe.students(), []
    students = [(name, seed) for seed in recipe.seeds for name in kinds]
    for name, seed in [("teacher", None), *students]:
        objective, settings = "sft" if recipe.teacher.sft else "given", {}
        training: dict[str, Any] | None = None
        if seed is not None:
            method, keys, level = kinds[name]
            training = keys.model_dump(mode="json")
            objective = method.kind() if level is None else "pruned"
            settings = method.model_dump(mode="json", exclude={"name", "objective", "training"})
            for key in ("lam", "beta", "alpha"):
                if settings[key] is None:
                    settings[key] = getattr(method.in_force()[1], key)
        own = facts[name if seed is None else f"{name}.seed{seed}"]
        row = {"system": name, "seed": seed, "objective": objective, "settings": settings}
        row |= {"training": training, "train_seconds": own.get("train_seconds")}
        row |= {"train_steps": own.get("steps")}
        rows.append(row | {key: own.get(key) for key in SYSTEM_FACTS})
    return rows


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


def _notes(
    recipe: Recipe, corpus: Corpus, start: Mapping[str, Any], facts: Mapping[str, dict[str, Any]]
) -> list[str]:
    notes = list(corpus.report.get("notes", []))
    if "teacher_nll" in start and start["teacher_nll"] >= start["student_nll"]:
        notes.append(
            "The teacher was no better than the student on validation before training: "
            f"{start['teacher_nll']:.3f} against {start['student_nll']:.3f} nats per token."
        )
    if "teacher_quantized" in start:
        notes.append(f"The {words_of(start['teacher_quantized'])}.")
    for (name, direction), pairs in corpus.tests.items():
        notes += few_segments(name, direction, len(pairs))
    damped = {m.name for m in recipe.methods if m.damps_all_hard}
    hard: dict[str, dict[str, float]] = {}
    for label, own in facts.items():
        name = label.rpartition(".seed")[0]
        if own.get("hard_share_end", 0) > 0.5 and name in damped:
            hard.setdefault(name, {})[label] = own["hard_share_end"]
    if hard:
        shares = [share for of_seeds in hard.values() for share in of_seeds.values()]
        of_all = len(recipe.seeds)  # where it is some seeds, these are named
        named = [[name] if len(labels) == of_all else labels for name, labels in hard.items()]
        names = ", ".join(chain.from_iterable(named))
        span = " to ".join(dict.fromkeys((f"{min(shares):.0%}", f"{max(shares):.0%}")))
        notes.append(
            f"{names}: {span} of the tokens were still hard at the end; where the gradient of hard "
            "tokens is damped, that is to learn from few."
        )
    if len(recipe.seeds) == 1:
        notes.append(
            "One seed: p-values speak of the test sentences only, not of another training run."
        )
    return notes
