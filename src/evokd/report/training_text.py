"""What the page says of the training text: what was dropped of it, and what the teacher wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evokd.report.formatting import decimal, percent, whole
from evokd.report.results import Results
from evokd.report.tables import DASH

TEXT_TITLES = {
    "teacher": "The teacher’s translations",
    "nearest": "The teacher’s translations nearest to the references",
}


def cleaning(results: Results) -> dict[str, Any] | None:
    """What was dropped from the training text and why."""
    return _sifted(results.get("cleaning") or {})


def teacher_texts(results: Results) -> list[dict[str, Any]]:
    """What the teacher wrote, what of it was left out and why; one for each kind."""
    texts = []
    for kind, facts in (results.get("teacher_text") or {}).items():
        sifted = _sifted(facts.get("sifted") or {})
        if sifted is None:
            continue
        told = [
            ("beam", whole(facts.get("beam"))),
            ("translations of each source", whole(facts.get("candidates"))),
            ("sources", whole(facts.get("sentences"))),
            ("tokens written", whole(facts.get("tokens"))),
            ("mean probability of the first", percent(facts["mass_of_best"] / 100)),
        ]
        if "bleu_of_nearest" in facts:
            told += [
                ("sentence BLEU of the first", decimal(facts["bleu_of_best"], 1)),
                ("sentence BLEU of the nearest", decimal(facts["bleu_of_nearest"], 1)),
            ]
        texts.append({"title": TEXT_TITLES.get(kind, kind), "facts": told, **sifted})
    return texts


def _sifted(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Of pairs read: how many were kept, and what became of the others."""
    read = facts.get("read")
    if not read:
        return None
    return {
        "read": whole(read),
        "kept": whole(facts.get("kept")),
        "kept_share": percent(facts["kept"] / read) if facts.get("kept") is not None else DASH,
        "repaired": whole(facts.get("repaired")),
        "dropped": [_fate(why, fate, read) for why, fate in (facts.get("reasons") or {}).items()],
        "odd": [_fate(why, fate, read) for why, fate in (facts.get("warnings") or {}).items()],
    }


def _fate(reason: str, dropped: Mapping[str, Any], read: int) -> dict[str, str]:
    examples = dropped.get("examples") or []
    first = examples[0] if examples else {}
    return {
        "reason": reason.replace("_", " "),
        "count": whole(dropped["count"]),
        "share": percent(dropped["count"] / read),
        "source": first.get("source", ""),
        "target": first.get("target", ""),
        "origin": first.get("origin", ""),
    }
