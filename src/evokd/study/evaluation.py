"""Every test set through every system: the translations, a file each, and how they are read."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evokd import processes
from evokd.data.corpus import Tests
from evokd.data.pairs import Pair
from evokd.evaluate.comparison import SystemOutput, TestSet, score_all
from evokd.progress import progress_bar
from evokd.recipe.judging import DecodingSettings
from evokd.rundir.files import fingerprint
from evokd.rundir.records import write_record
from evokd.study.context import Study
from evokd.study.places import System
from evokd.study.systems import decoder

VALIDATION = "_validation"
"""In the place of a test set: the validation text, where the best of several is chosen by it."""


def translate_tests(study: Study, system: System, beam: int | None = None) -> None:
    """Every test set of every direction through one system, a file each; of sweeps the validation
    text as well.

    Args:
        beam: another one than the recipe's decoding has.
    """
    settings, missing = _decoding(study, beam), []
    validated = beam is None and system.system in study.recipe.compared()
    cells = study.corpus.tests | (_validation(study) if validated else {})
    for (test_set, direction), pairs in cells.items():
        path = translation_path(study, test_set, direction, system, beam).with_suffix(".json")
        made_of = translation_made_of(study, pairs, system, beam)
        if study.is_done_record(f"translations {path.stem}", path, made_of):
            continue
        missing.append((direction, [pair.source for pair in pairs], path, made_of))
    if not missing:
        return
    from evokd.translate.engines.agreement import engine_facts
    from evokd.translate.engines.engine import generate_by, started

    translator = decoder(study, system)
    with started(translator, settings) as engine:
        generate = generate_by(engine, settings)
        for direction, sources, path, made_of in missing:
            noted = engine_facts(engine, translator, sources, direction, settings, study.log)
            made = _translated(study, system, sources, direction, settings, path.stem, generate)
            write_record(study.folder, path, made_of, made.facts() | noted, made.lines)
    study.release()


def _translated(
    study: Study,
    system: System,
    sources: Sequence[str],
    direction: str,
    settings: DecodingSettings,
    label: str,
    generate: Any,
) -> Any:
    """Lines of one direction through a system, shared out where there are several processes; an
    engine is the first one's alone."""
    from evokd.translate.decoding import joined

    given = (system, direction, settings, label)
    if generate is not None:
        return _translated_part(study, sources, *given, generate)
    began = time.perf_counter()
    parts = processes.shared(_translated_part, study, sources, *given)
    return joined(parts, time.perf_counter() - began)


def _translated_part(
    study: Study,
    sources: Sequence[str],
    system: System,
    direction: str,
    settings: DecodingSettings,
    label: str,
    generate: Any = None,
) -> Any:
    from evokd.translate.decoding import translate

    source, target = direction.split("-")
    show = progress_bar(label)
    return translate(decoder(study, system), sources, source, target, settings, show, generate)


def translation_made_of(
    study: Study, pairs: Sequence[Pair], system: System, beam: int | None = None
) -> dict[str, Any]:
    """What a system's translations of a test set depend on."""
    return {
        "system": system.fingerprint,
        "sources": fingerprint([pair.source for pair in pairs]),
        "decoding": _decoding(study, beam).identity(),
    }


def translation_path(
    study: Study, test_set: str, direction: str, system: System, beam: int | None = None
) -> Path:
    """Where a system's translations are, one line per segment."""
    folder = study.paths.translations / ("" if beam is None else f"beam{beam}")
    return folder / f"{test_set}.{direction}.{system.label}.txt"


def read_translations(path: Path) -> list[str]:
    """The lines of a file that a decoding wrote, one per segment."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def test_sets(tests: Tests) -> list[TestSet]:
    """The tests of a study, as scoring takes them."""
    return [
        TestSet(name, direction, [p.source for p in pairs], [[p.target for p in pairs]])
        for (name, direction), pairs in tests.items()
    ]


def validation_scores(study: Study, systems: Sequence[System]) -> list[dict[str, Any]]:
    """BLEU of sweeps on the validation text: rows as of `score_all`."""
    compared, cells = study.recipe.compared(), _validation(study)
    outputs = [
        SystemOutput(one.system, one.seed, *cell, read_translations(path))
        for one in systems
        if one.system in compared
        for cell in cells
        for path in [translation_path(study, *cell, one)]
    ]
    return score_all(outputs, test_sets(cells), ["bleu"], teacher=None) if outputs else []


def _validation(study: Study) -> Tests:
    """The validation text by direction, in the place of a test set."""
    cells: Tests = defaultdict(list)
    for pair in study.corpus.valid:
        cells[VALIDATION, pair.direction].append(pair)
    return dict(cells)


def _decoding(study: Study, beam: int | None) -> DecodingSettings:
    settings = study.recipe.decoding
    return settings if beam is None else settings.model_copy(update={"beam": beam})
