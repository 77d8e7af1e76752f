"""The stage that measures systems beside their scores: other beams, likelihood, use as a draft."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evokd.evaluate.comparison import SystemOutput, score_all
from evokd.progress import progress_bar
from evokd.recipe.metrics import counted
from evokd.rundir.files import fingerprint, read_sealed
from evokd.rundir.records import write_record
from evokd.study.context import Study
from evokd.study.evaluation import (
    read_translations,
    test_sets,
    translate_tests,
    translation_made_of,
    translation_path,
)
from evokd.study.places import System
from evokd.study.systems import decoder

Row = dict[str, Any]


def analyse(study: Study, systems: Sequence[System]) -> list[Row]:
    """One row a system and seed: what the recipe's `analysis` asks for, and what is left of pruned
    ones. Translations of the recipe's own beam size are there already.

    Args:
        systems: the teacher first.
    """
    settings, teacher, rows = study.recipe.analysis, systems[0], []
    teacher_answers: list[Any] = []
    dry = study.planned is not None
    has_pruned = not dry and any("nonzero_parameters" in one.facts() for one in systems)
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
    """Scores, but for those of neural metrics, and speed at each further beam size."""
    metrics, rows = counted(study.recipe.scoring.metrics), []
    for beam in study.recipe.analysis.beams:
        translate_tests(study, system, beam)
        if study.planned is not None:
            continue
        for test in test_sets(study.corpus.tests):
            path = translation_path(study, *test.cell, system, beam)
            output = SystemOutput(system.system, system.seed, *test.cell, read_translations(path))
            scores = score_all([output], [test], metrics, teacher=None)
            row = {"beam": beam, "test_set": test.name, "direction": test.direction}
            row |= {score["metric"]: score["score"] for score in scores}
            words_per_s = read_sealed(path.with_suffix(".json"))["words_per_s"]
            rows.append(row | {"words_per_s": words_per_s})
    return rows


def _model_measures(
    study: Study, teacher: System, system: System, teacher_answers: list[Any]
) -> Row:
    """What takes the model itself; kept in a file, as it takes time."""
    settings = study.recipe.analysis
    targets = [[pair.target for pair in pairs] for pairs in study.corpus.tests.values()]
    made_of = {
        "teacher": teacher.fingerprint,
        "system": system.fingerprint,
        "analysis": settings.model_dump(mode="json", include={"likelihood", "acceptance"}),
        "translations": [
            translation_made_of(study, pairs, system, beam)
            for pairs in study.corpus.tests.values()
            for beam in (None, *settings.beams)
        ],
        "references": fingerprint(targets),
    }
    path = study.paths.analysis / f"{system.label}.json"
    if study.is_done_record(f"analysis {system.label}", path, made_of):
        return {} if study.planned is not None else dict(read_sealed(path)["found"])
    translator = decoder(study, system)
    measures: Row = {}
    if settings.likelihood:
        measures |= _likelihood(study, system, translator)
    if settings.acceptance and system is not teacher:
        measures |= _acceptance(study, system, translator, teacher_answers)
    write_record(study.folder, path, made_of, {"found": measures})
    study.release()
    return measures


def _likelihood(study: Study, system: System, translator: Any) -> Row:
    from evokd.translate.likelihood import likelihood_facts

    pairs = [pair for of_test in study.corpus.tests.values() for pair in of_test]
    outputs = [
        [
            line
            for cell in study.corpus.tests
            for line in read_translations(translation_path(study, *cell, system, beam))
        ]
        for beam in (None, *study.recipe.analysis.beams)
    ]
    show = progress_bar(f"likelihood {system.label}")
    return likelihood_facts(translator, pairs, outputs, progress=show)


def _acceptance(study: Study, system: System, translator: Any, teacher_answers: list[Any]) -> Row:
    """Over all test sets and directions together; the teacher's answers are made once."""
    from evokd.translate.acceptance import acceptance, greedy_answers

    decoding = study.recipe.decoding
    if not teacher_answers:
        for (_, direction), pairs in study.corpus.tests.items():
            source, target = direction.split("-")
            lines = [pair.source for pair in pairs]
            teacher_answers += greedy_answers(study.teacher, lines, source, target, decoding)
    show = progress_bar(f"draft {system.label}")
    facts = acceptance(study.teacher, translator, teacher_answers, decoding, progress=show)
    return {name: facts[name] for name in ("acceptance", "tokens_per_pass")}
