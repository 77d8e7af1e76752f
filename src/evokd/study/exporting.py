"""The stage that exports each student to the formats of the recipe, and compares them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from evokd.errors import InputError
from evokd.recipe.exports import ExportSettings, check_format
from evokd.recipe.recipe import Recipe
from evokd.rundir.files import fingerprint
from evokd.rundir.stage import Stage
from evokd.study.context import Study
from evokd.study.places import System


def check_exports(recipe: Recipe) -> None:
    """Raises InputError: a format of the recipe needs a package that isn't here, or is read by a
    tool that can't decode as the recipe says."""
    for one in recipe.exports:
        check_format(one.to, one.quantize)
        if one.to == "gguf" and recipe.decoding.beam > 1 and find_spec("llama_cpp"):
            raise InputError(
                f"exports: found gguf together with decoding.beam={recipe.decoding.beam}; "
                "llama.cpp, which is here to compare it, is asked greedily: leave gguf out, or "
                "type decoding.beam=1"
            )


def make_exports(study: Study, systems: Sequence[System]) -> list[tuple[System, Stage]]:
    """Each student in each format, with what came of it as the stage's facts."""
    made = []
    for system in systems:
        for one in study.recipe.exports if system.seed is not None else ():
            stage = study.stage(
                f"export of {system.label} to {one.label}",
                study.paths.exports / system.label / one.label,
                _made_of(study, system, one),
            )
            if not study.is_done(stage):
                _make(study, system, one, stage)
            made.append((system, stage))
    return made


def export_rows(study: Study, exports: Sequence[tuple[System, Stage]]) -> list[dict[str, Any]]:
    """What came of each, for results.json."""
    return [
        {"system": system.system, "seed": system.seed} | study.facts(stage)
        for system, stage in exports
    ]


def _make(study: Study, system: System, settings: ExportSettings, stage: Stage) -> None:
    import torch

    from evokd.export.parity import TestText, export_compared
    from evokd.models.loading import load_translator

    study.decoder = None
    stage.begin()
    texts = [
        TestText(name, direction, [p.source for p in pairs], [p.target for p in pairs])
        for (name, direction), pairs in study.corpus.tests.items()
    ]
    facts = export_compared(
        lambda: load_translator(
            system.folder / "model", torch.device("cpu"), torch.float32, study.prompt
        ),
        stage.folder / "model",
        settings,
        study.recipe.directions,
        f"{study.recipe.name}, {system.label}",
        texts,
        study.recipe.decoding,
        study.log,
    )
    stage.finish(facts)
    study.release()


def _made_of(study: Study, system: System, settings: ExportSettings) -> dict[str, Any]:
    texts = [
        (*cell, [(pair.source, pair.target) for pair in pairs])
        for cell, pairs in study.corpus.tests.items()
    ]
    return {
        "system": system.fingerprint,
        "export": settings.model_dump(mode="json"),
        "texts": fingerprint(texts),
        "decoding": study.recipe.decoding.identity(exclude={"engine", "precision"}),
    }
