"""Every test set through every system: the translations, a file each, and how they are read."""

from __future__ import annotations

from pathlib import Path

from evokd.data.corpus import Corpus
from evokd.evaluate.comparison import TestSet
from evokd.rundir import fingerprint, read_made_of, write_json, write_lines
from evokd.study.context import Study, System, progress_bar
from evokd.study.models import load_for_decoding


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
        if not (path.exists() and read_made_of(path.with_suffix(".json"), key)):
            missing.append((direction, sources, path, key))
    if not missing:
        return
    from evokd.translate.decoding import translate

    translator = load_for_decoding(study, system)
    for direction, sources, path, key in missing:
        source, target = direction.split("-")
        show = progress_bar(path.stem)
        translations = translate(translator, sources, source, target, settings, progress=show)
        path.with_suffix(".json").unlink(missing_ok=True)
        write_lines(path, translations.lines)
        write_json(path.with_suffix(".json"), {"fingerprint": key, **translations.facts()})


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
