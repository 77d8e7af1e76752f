"""The stage that looks at systems beside their scores: other beams, likelihood, use as a draft."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evokd.evaluate.comparison import SystemOutput, TestSet, score_all
from evokd.recipe.judging import AnalysisSettings
from evokd.rundir import Stage, fingerprint, hash_file, read_json, write_json
from evokd.study.context import Study, System, load_system, progress_bar
from evokd.study.stages import translate_tests, translation_path

Row = dict[str, Any]


def analyse(study: Study, corpus: Stage, teacher: System, students: Sequence[System]) -> list[Row]:
    """One row a system and seed: what the recipe's `analysis` asks for, and what is left of pruned
    ones. Translations of the recipe's own beam size are there already."""
    settings, rows = study.recipe.analysis, []
    said: dict[tuple[str, str], Any] = {}
    for system in (teacher, *students):
        row: Row = {"system": system.system, "seed": system.seed}
        for beam in settings.beams:
            translate_tests(study, corpus, system, beam)
        if settings.beams:
            row["beams"] = _scored(study, system)
        if settings.likelihood or (settings.acceptance and system is not teacher):
            row |= _looked_at(study, teacher, system, said)
        facts = system.facts()
        if any("nonzero_parameters" in one.facts() for one in students):
            row["nonzero_parameters"] = facts.get("nonzero_parameters", facts["parameters"])
        if len(row) > 2:
            rows.append(row)
    return rows


def _scored(study: Study, system: System) -> list[Row]:
    """Scores and speed at each further beam size."""
    metrics, rows = list(study.recipe.scoring.metrics), []
    tests = [
        TestSet(name, direction, [p.source for p in pairs], [[p.target for p in pairs]])
        for (name, direction), pairs in study.corpus.tests.items()
    ]
    for beam in study.recipe.analysis.beams:
        paths = {test.cell: _path(study, test.cell, system, beam) for test in tests}
        outputs = [
            SystemOutput(system.system, system.seed, *cell, _lines(path))
            for cell, path in paths.items()
        ]
        scores = score_all(outputs, tests, metrics, teacher=None)
        for test in tests:
            made = read_json(paths[test.cell].with_suffix(".json"))
            row = {"beam": beam, "test_set": test.name, "direction": test.direction}
            own = {s["metric"]: s["score"] for s in scores if _cell_of(s) == test.cell}
            rows.append(row | own | {"words_per_s": made["words_per_s"]})
    return rows


def _looked_at(
    study: Study, teacher: System, system: System, said: dict[tuple[str, str], Any]
) -> Row:
    """What takes the model itself; kept in a file, as it takes time."""
    settings = study.recipe.analysis
    asked = settings.model_dump(include={"likelihood", "acceptance"})
    paths = [
        _path(study, cell, system, beam)
        for cell in study.corpus.tests
        for beam in (None, *settings.beams)
    ]
    mark = fingerprint(
        [teacher.fingerprint, system.fingerprint],
        asked,
        [hash_file(path) for path in paths],
        [[pair.target for pair in pairs] for pairs in study.corpus.tests.values()],
        study.recipe.decoding.model_dump(),
    )
    path = study.folder / "analysis" / f"{system.label}.json"
    if path.exists() and read_json(path).get("fingerprint") == mark:
        return dict(read_json(path)["found"])
    translator = (
        study.teacher if system.system == "teacher" else load_system(study, system, serving=True)
    )
    found: Row = {}
    if settings.likelihood:
        found |= _likelihood(study, system, translator, settings)
    if settings.acceptance and system is not teacher:
        found |= _acceptance(study, system, translator, said)
    write_json(path, {"fingerprint": mark, "found": found})
    return found


def _likelihood(
    study: Study, system: System, translator: Any, settings: AnalysisSettings
) -> Mapping[str, Any]:
    from evokd.translate.likelihood import likelihood_facts

    pairs: dict[str, list[Any]] = {}
    outputs: dict[str, list[list[str]]] = {}
    for (test_set, direction), own in study.corpus.tests.items():
        pairs.setdefault(direction, []).extend(own)
        for number, beam in enumerate((None, *settings.beams)):
            made = outputs.setdefault(direction, [[] for _ in (None, *settings.beams)])
            made[number] += _lines(_path(study, (test_set, direction), system, beam))
    show = progress_bar(f"likelihood {system.label}")
    found = likelihood_facts(translator, pairs, outputs, progress=show)
    mass = found["mode_mass"]
    return {"perplexity": found["perplexity"], "mode_mass": None if mass is None else mass / 100}


def _acceptance(
    study: Study, system: System, translator: Any, said: dict[tuple[str, str], Any]
) -> Mapping[str, Any]:
    """Over all test sets and directions together; the teacher's answers are made once."""
    from evokd.translate.speculative import acceptance, greedy_answers

    decoding = study.recipe.decoding
    totals = {"accepted": 0, "drafted": 0, "tokens": 0, "teacher_passes": 0}
    show = progress_bar(f"draft {system.label}")
    for number, ((test_set, direction), pairs) in enumerate(study.corpus.tests.items(), start=1):
        source, target = direction.split("-")
        sources = [pair.source for pair in pairs]
        if (test_set, direction) not in said:
            said[test_set, direction] = greedy_answers(
                study.teacher, sources, source, target, decoding
            )
        answers = said[test_set, direction]
        found = acceptance(
            study.teacher, translator, sources, source, target, decoding, said=answers
        )
        totals = {key: count + found[key] for key, count in totals.items()}
        show(number, len(study.corpus.tests))
    return {
        "acceptance": totals["accepted"] / totals["drafted"] if totals["drafted"] else None,
        "tokens_per_pass": totals["tokens"] / max(1, totals["teacher_passes"]),
    }


def _path(study: Study, cell: tuple[str, str], system: System, beam: int | None) -> Path:
    return translation_path(study.folder, *cell, system, beam)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def _cell_of(row: Row) -> tuple[str, str]:
    return row["test_set"], row["direction"]
