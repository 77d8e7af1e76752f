"""The stage that measures systems beside their scores: other beams, likelihood, use as a draft."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from evokd.evaluate.comparison import SystemOutput, score_all
from evokd.rundir import fingerprint, hash_file, read_json, read_made_of, write_json
from evokd.study.context import Study, System, progress_bar
from evokd.study.evaluation import read_translations, test_sets, translate_tests, translation_path
from evokd.study.models import load_for_decoding

Row = dict[str, Any]
COUNTED = ("accepted", "drafted", "tokens", "teacher_passes")


def analyse(study: Study, systems: Sequence[System]) -> list[Row]:
    """One row a system and seed: what the recipe's `analysis` asks for, and what is left of pruned
    ones. Translations of the recipe's own beam size are there already.

    Args:
        systems: the teacher first.
    """
    settings, teacher, rows = study.recipe.analysis, systems[0], []
    teacher_answers: dict[tuple[str, str], Any] = {}
    has_pruned = any("nonzero_parameters" in system.facts() for system in systems)
    for system in systems:
        row: Row = {"system": system.system, "seed": system.seed}
        if settings.beams:
            row["beams"] = _beam_rows(study, system)
        if settings.likelihood or (settings.acceptance and system is not teacher):
            row |= _model_measures(study, teacher, system, teacher_answers)
        if has_pruned:
            facts = system.facts()
            row["nonzero_parameters"] = facts.get("nonzero_parameters", facts["parameters"])
        if len(row) > 2:
            rows.append(row)
    return rows


def _beam_rows(study: Study, system: System) -> list[Row]:
    """Scores and speed at each further beam size."""
    metrics, rows = list(study.recipe.scoring.metrics), []
    for beam in study.recipe.analysis.beams:
        translate_tests(study, system, beam)
        for test in test_sets(study.corpus):
            path = translation_path(study, *test.cell, system, beam)
            output = SystemOutput(system.system, system.seed, *test.cell, read_translations(path))
            scores = score_all([output], [test], metrics, teacher=None)
            row = {"beam": beam, "test_set": test.name, "direction": test.direction}
            row |= {score["metric"]: score["score"] for score in scores}
            words_per_s = read_json(path.with_suffix(".json"))["words_per_s"]
            rows.append(row | {"words_per_s": words_per_s})
    return rows


def _model_measures(
    study: Study, teacher: System, system: System, teacher_answers: dict[tuple[str, str], Any]
) -> Row:
    """What takes the model itself; kept in a file, as it takes time."""
    settings, tests = study.recipe.analysis, study.corpus.tests
    key = fingerprint(
        [teacher.fingerprint, system.fingerprint],
        settings.model_dump(include={"likelihood", "acceptance"}),
        [
            hash_file(translation_path(study, *cell, system, beam))
            for cell in tests
            for beam in (None, *settings.beams)
        ],
        [[pair.target for pair in pairs] for pairs in tests.values()],
        study.recipe.decoding.model_dump(),
    )
    path = study.paths.analysis / f"{system.label}.json"
    saved = read_made_of(path, key)
    if saved:
        return dict(saved["found"])
    translator = load_for_decoding(study, system)
    measures: Row = {}
    if settings.likelihood:
        measures |= _likelihood(study, system, translator)
    if settings.acceptance and system is not teacher:
        measures |= _acceptance(study, system, translator, teacher_answers)
    write_json(path, {"fingerprint": key, "found": measures})
    return measures


def _likelihood(study: Study, system: System, translator: Any) -> Row:
    from evokd.translate.likelihood import likelihood_facts

    beams = (None, *study.recipe.analysis.beams)
    pairs: dict[str, list[Any]] = {}
    outputs: dict[str, list[list[str]]] = {}
    for (test_set, direction), of_test in study.corpus.tests.items():
        pairs.setdefault(direction, []).extend(of_test)
        of_beams = outputs.setdefault(direction, [[] for _ in beams])
        for lines, beam in zip(of_beams, beams, strict=True):
            lines += read_translations(translation_path(study, test_set, direction, system, beam))
    show = progress_bar(f"likelihood {system.label}")
    facts = likelihood_facts(translator, pairs, outputs, progress=show)
    mass = facts["mode_mass"]
    return {"perplexity": facts["perplexity"], "mode_mass": None if mass is None else mass / 100}


def _acceptance(
    study: Study, system: System, translator: Any, teacher_answers: dict[tuple[str, str], Any]
) -> Row:
    """Over all test sets and directions together; the teacher's answers are made once."""
    from evokd.translate.acceptance import acceptance, greedy_answers

    decoding = study.recipe.decoding
    totals: Counter[str] = Counter()
    show = progress_bar(f"draft {system.label}")
    for number, (cell, pairs) in enumerate(study.corpus.tests.items(), start=1):
        source, target = cell[1].split("-")
        lines = [pair.source for pair in pairs]
        if cell not in teacher_answers:
            teacher_answers[cell] = greedy_answers(study.teacher, lines, source, target, decoding)
        counts = acceptance(study.teacher, translator, teacher_answers[cell], decoding)
        totals += Counter({name: counts[name] for name in COUNTED})
        show(number, len(study.corpus.tests))
    return {
        "acceptance": totals["accepted"] / totals["drafted"] if totals["drafted"] else None,
        "tokens_per_pass": totals["tokens"] / max(1, totals["teacher_passes"]),
    }
