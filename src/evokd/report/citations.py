"""BibTeX of what a run used: its methods, metrics and tests. The entries are in references.bib."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from itertools import chain
from pathlib import Path

from evokd.recipe.metrics import BLEU_VS_TEACHER
from evokd.report.map import has_grid
from evokd.report.results import Results

SELF_EVOLUTION = "song-etal-2025-self"
OF_OBJECTIVE = {
    "forward_kd": "hinton-etal-2015-distilling",
    "reverse_kd": "gu-etal-2024-minillm",
    **dict.fromkeys(("noevo", "skew", "skew_teacher"), SELF_EVOLUTION),
    **dict.fromkeys(("self_evolution", "self_evolution_topk"), SELF_EVOLUTION),
    "word_kd": "kim-rush-2016-sequence",
    "atkd": "zhong-etal-2024-revisiting",
    "skl": "ko-etal-2024-distillm",
    "srkl": "ko-etal-2024-distillm",
    "jsd": "agarwal-etal-2024-policy",
    "akl": "wu-etal-2025-rethinking",
    "selective_kd": "wang-etal-2021-selective",
    "tip": "xu-etal-2026-tip",
    "pruned": "see-etal-2016-compression",
}
"""Plain fine-tuning has none."""
SACREBLEU = "post-2018-call"
OF_METRIC = {
    "bleu": ("papineni-etal-2002-bleu", SACREBLEU),
    "chrf": ("popovic-2015-chrf", SACREBLEU),
    "chrf++": ("popovic-2017-chrf", SACREBLEU),
    "ter": ("snover-etal-2006-study", SACREBLEU),
    "comet": ("rei-etal-2022-comet",),
    "cometkiwi": ("rei-etal-2022-cometkiwi",),
    "xcomet": ("guerreiro-etal-2024-xcomet",),
    "metricx": ("juraska-etal-2024-metricx",),
}
OF_TEST = {
    "bootstrap": ("koehn-2004-statistical",),
    "randomization": ("riezler-maxwell-2005-pitfalls", "clark-etal-2011-better"),
    "holm": ("holm-1979-simple",),
}


def citations(run: Path) -> str:
    """The entries, methods first, each once; of a grid those of all its points.

    Raises:
        InputError: the run has no results.
    """
    points = [path.parent for path in sorted(run.glob("*/results.json"))] if has_grid(run) else []
    used = chain.from_iterable(_used(Results.read(one)) for one in points or [run])
    entries = references()
    return "\n".join(entries[key] for key in dict.fromkeys(used))


def references() -> dict[str, str]:
    """Key → its entry."""
    text = files("evokd.report").joinpath("references.bib").read_text(encoding="utf-8")
    found = re.findall(r"(@\w+\{([^,]+),.*?\n\}\n)", text, flags=re.DOTALL)
    return {key: entry for entry, key in found}


def _used(results: Results) -> Iterator[str]:
    for system in results.students:
        settings = results.settings(system)
        if key := OF_OBJECTIVE.get(results.objective(system)):
            yield key
        if settings.get("text", "reference") in ("teacher", "nearest"):
            yield "kim-rush-2016-sequence"
        if settings.get("on_policy"):
            yield "agarwal-etal-2024-policy"
        if settings.get("text") == "filtered":
            yield "junczys-dowmunt-2018-dual"
    if any(row.get("lora") for rows in results.runs.values() for row in rows):
        yield "hu-etal-2022-lora"
    if results.start.get("teacher_quantized"):
        yield "dettmers-etal-2023-qlora"
    for metric in dict.fromkeys(metric for _, _, metric, _ in results.scores):
        yield from OF_METRIC.get("bleu" if metric == BLEU_VS_TEACHER else metric, ())
    scoring = (results.tree.get("recipe") or {}).get("scoring") or {}
    how = results.tree.get("significance") or {}
    if results.comparisons:
        yield from OF_TEST.get(scoring.get("test") or how.get("test") or "bootstrap", ())
    if any("off_target" in row for rows in results.behaviour.values() for row in rows):
        yield "lui-baldwin-2012-langid"
    if "holm" in (scoring.get("correction"), how.get("correction")):
        yield from OF_TEST["holm"]
