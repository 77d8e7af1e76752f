"""Every test set through every system: the translations, a file each, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evokd.data.corpus import Corpus
from evokd.evaluate.comparison import TestSet
from evokd.progress import progress_bar
from evokd.recipe.judging import DecodingSettings
from evokd.rundir.files import fingerprint
from evokd.rundir.records import write_record
from evokd.study.context import Study, System
from evokd.study.models import load_for_decoding


def translate_tests(study: Study, system: System, beam: int | None = None) -> None:
    """Every test set of every direction through one system, a file each.

    Args:
        beam: another one than the recipe's decoding has.
    """
    settings, missing = _decoding(study, beam), []
    for (test_set, direction), pairs in study.corpus.tests.items():
        path = translation_path(study, test_set, direction, system, beam).with_suffix(".json")
        made_of = translation_made_of(study, test_set, direction, system, beam)
        if study.is_done_record(f"translations {path.stem}", path, made_of):
            continue
        missing.append((direction, [pair.source for pair in pairs], path, made_of))
    if not missing:
        return
    from evokd.translate.decoding import translate

    translator = load_for_decoding(study, system)
    for direction, sources, path, made_of in missing:
        source, target = direction.split("-")
        show = progress_bar(path.stem)
        translations = translate(translator, sources, source, target, settings, progress=show)
        write_record(study.folder, path, made_of, translations.facts(), translations.lines)


def translation_made_of(
    study: Study, test_set: str, direction: str, system: System, beam: int | None = None
) -> dict[str, Any]:
    """What a system's translations of a test set depend on."""
    sources = [pair.source for pair in study.corpus.tests[test_set, direction]]
    return {
        "system": system.fingerprint,
        "sources": fingerprint(sources),
        "decoding": _decoding(study, beam).model_dump(mode="json"),
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


def test_sets(corpus: Corpus) -> list[TestSet]:
    """The tests of a study, as scoring takes them."""
    return [
        TestSet(name, direction, [p.source for p in pairs], [[p.target for p in pairs]])
        for (name, direction), pairs in corpus.tests.items()
    ]


def _decoding(study: Study, beam: int | None) -> DecodingSettings:
    settings = study.recipe.decoding
    return settings if beam is None else settings.model_copy(update={"beam": beam})
