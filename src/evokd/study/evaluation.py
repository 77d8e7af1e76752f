"""The stages that translate the test sets with every system, and put the results together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evokd.rundir import Stage, fingerprint, hash_file, read_json, write_json
from evokd.study.context import Study, System, progress_bar
from evokd.study.models import load_for_decoding
from evokd.study.results import assemble


def translate_tests(study: Study, system: System, beam: int | None = None) -> None:
    """Every test set of every direction through one system, a file each.

    Args:
        beam: another one than the recipe's decoding has.
    """
    settings = study.recipe.decoding
    if beam is not None:
        settings = settings.model_copy(update={"beam": beam})
    missing = []
    for (test_set, direction), pairs in study.corpus.tests.items():
        path = translation_path(study, test_set, direction, system, beam)
        sources = [pair.source for pair in pairs]
        key = fingerprint(system.fingerprint, sources, settings.model_dump())
        if not (path.exists() and saved_under(key, path.with_suffix(".json"))):
            missing.append((direction, sources, path, key))
    if not missing:
        return
    from evokd.translate.decoding import translate, write_lines

    translator = load_for_decoding(study, system)
    for direction, sources, path, key in missing:
        source, target = direction.split("-")
        show = progress_bar(path.stem)
        translations = translate(translator, sources, source, target, settings, progress=show)
        path.with_suffix(".json").unlink(missing_ok=True)
        write_lines(path, translations.lines)
        write_json(path.with_suffix(".json"), {"fingerprint": key, **translations.facts()})


def make_results(
    study: Study,
    corpus: Stage,
    systems: Sequence[System],
    init_facts: dict[str, Any],
    analysis: list[dict[str, Any]],
    teacher_text: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """Scores, comparisons and everything else that the report shows, in results.json.

    Args:
        init_facts: what is known of the students' common start.
        analysis: what was measured of systems beside their scores, a row each.
        teacher_text: what is known of the text that the teacher wrote, by kind.
    """
    paths = {
        (*cell, system.system, system.seed): translation_path(study, *cell, system)
        for cell in study.corpus.tests
        for system in systems
    }
    key = fingerprint(
        study.recipe.name,
        study.recipe.scoring.model_dump(),
        study.recipe.report.model_dump(),
        corpus.fingerprint,
        [(*output, hash_file(path)) for output, path in paths.items()],
        [(system.label, system.fingerprint) for system in systems],
        analysis,
        teacher_text,
    )
    saved = saved_under(key, study.paths.results)
    if saved:
        return saved
    results = assemble(
        study.recipe,
        study.corpus,
        paths,
        {system.label: system.facts() for system in systems},
        init_facts,
        analysis,
        teacher_text,
        study.log,
    )
    write_json(study.paths.results, {"fingerprint": key, **results})
    return results


def translation_path(
    study: Study, test_set: str, direction: str, system: System, beam: int | None = None
) -> Path:
    """Where a system's translations are, one line per segment."""
    folder = study.paths.translations / ("" if beam is None else f"beam{beam}")
    return folder / f"{test_set}.{direction}.{system.label}.txt"


def saved_under(key: str, path: Path) -> dict[str, Any] | None:
    """What a JSON file holds, if it was made of the same things."""
    tree = read_json(path) if path.exists() else {}
    return dict(tree) if tree.get("fingerprint") == key else None
