"""Neural metrics over all translations of a study: what the models say of each segment, in a record
beside the translations of each system and test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from evokd.evaluate.neural import (
    Segment,
    Unavailable,
    judged,
    remember,
    segments_of,
    signature_of,
)
from evokd.recipe.metrics import DEFAULT_METRICS, describe
from evokd.rundir.files import fingerprint, read_sealed
from evokd.rundir.records import write_record
from evokd.study.context import Study
from evokd.study.evaluation import read_translations, translation_made_of, translation_path
from evokd.study.places import System


class Judgement(NamedTuple):
    """What can be scored here."""

    metrics: list[str]
    """Of the recipe; the default ones where none can be computed."""
    signatures: dict[str, str | None]
    """Of its neural metrics; None: can't be computed."""
    lines: list[str]
    """What to type for these."""


def judge_translations(study: Study, systems: Sequence[System]) -> Judgement:
    """Have neural metrics judge what they haven't yet. Where one isn't installed any more, what it
    said before holds."""
    asked = study.recipe.scoring.metrics
    signatures: dict[str, str | None] = {}
    lines = []
    for name in (one for one in asked if describe(one).model):
        signatures[name] = signature_of(name) or _signature_in(study, name)
        try:
            _judge(study, systems, name, signatures[name])
        except Unavailable as why:
            signatures[name] = None
            lines.append(str(why))
    metrics = [name for name in asked if signatures.get(name, "") is not None]
    return Judgement(metrics or list(DEFAULT_METRICS), signatures, lines)


def _judge(study: Study, systems: Sequence[System], name: str, signature: str | None) -> None:
    missing: dict[Path, tuple[Mapping[str, Any], list[Segment]]] = {}
    for (cell, pairs), system in product(study.corpus.tests.items(), systems):
        translations = translation_path(study, *cell, system)
        path = translations.with_name(f"{translations.stem}.{name}.json")
        references = [pair.target for pair in pairs]
        made_of = {
            "translations": fingerprint(translation_made_of(study, pairs, system)),
            "references": fingerprint(references),
            "signature": signature,
        }
        done = signature is not None and study.is_done_record(path.stem, path, made_of)
        if study.planned is not None and (done or signature is None):
            continue
        texts = ([pair.source for pair in pairs], read_translations(translations), [references])
        segments = [segment for row in segments_of(name, *texts) for segment in row]
        if done and signature is not None:
            scores = read_sealed(path)["scores"]
            remember(name, signature, zip(segments, scores, strict=True))
        else:
            missing[path] = made_of, segments
    found = iter(judged(name, [one for _, segments in missing.values() for one in segments]))
    for path, (made, segments) in missing.items():
        write_record(study.folder, path, made, {"scores": [next(found) for _ in segments]})
    study.release()


def _signature_in(study: Study, name: str) -> str | None:
    """Of what was judged before."""
    for path in sorted(study.paths.translations.glob(f"*.{name}.json")):
        try:
            return str(read_sealed(path)["made_of"]["signature"])
        except (OSError, ValueError):
            continue
    return None
