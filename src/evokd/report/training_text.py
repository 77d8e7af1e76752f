"""What the page says of the training text: what was dropped of it, and what the teacher wrote."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from evokd.report.formatting import DASH, decimal, percent, whole
from evokd.report.results import Record, Results
from evokd.report.tables import Grid

TITLES = {
    "teacher": "The teacher’s translations",
    "nearest": "The teacher’s translations nearest to the references",
}
EXAMPLE = Markup(
    '<span dir="auto">{}</span> ⟷ <span dir="auto">{}</span> <span class="note">{}</span>'
)


def cleaning(results: Results) -> dict[str, Any] | None:
    """What was dropped from the training text and why."""
    return _sifted(results.tree.get("cleaning") or {})


def teacher_texts(results: Results) -> list[dict[str, Any]]:
    """What the teacher wrote, what of it was left out and why; one for each kind."""
    texts = []
    for kind, record in (results.tree.get("teacher_text") or {}).items():
        facts = {
            "beam": whole(record.get("beam")),
            "translations of each source": whole(record.get("candidates")),
            "sources": whole(record.get("sentences")),
            "tokens written": whole(record.get("tokens")),
            "mean probability of the first": percent(record["mass_of_best"] / 100),
        }
        if "bleu_of_nearest" in record:
            facts["sentence BLEU of the first"] = decimal(record["bleu_of_best"], 1)
            facts["sentence BLEU of the nearest"] = decimal(record["bleu_of_nearest"], 1)
        if sifted := _sifted(record.get("sifted") or {}):
            texts.append({"title": TITLES.get(kind, kind), "facts": facts, **sifted})
    return texts


def _sifted(report: Record) -> dict[str, Any] | None:
    """Of pairs read: how many were kept, and what became of the others."""
    read, kept = report.get("read"), report.get("kept")
    if not read:
        return None
    groups = {"dropped": report.get("reasons"), "kept, but odd": report.get("warnings")}
    drops = {
        title: [_drop_row(reason, dropped, read) for reason, dropped in reasons.items()]
        for title, reasons in groups.items()
        if reasons
    }
    return {
        "read": whole(read),
        "kept": whole(kept),
        "share": DASH if kept is None else percent(kept / read),
        "repaired": whole(report.get("repaired")),
        "drops": Grid(["why", "pairs", "share", "first example"], drops),
    }


def _drop_row(reason: str, dropped: Record, read: int) -> list[str]:
    first: Record = next(iter(dropped.get("examples") or []), {})
    source, target, origin = (first.get(key, "") for key in ("source", "target", "origin"))
    example = EXAMPLE.format(source, target, origin) if source or target else ""
    share = percent(dropped["count"] / read)
    return [reason.replace("_", " "), whole(dropped["count"]), share, example]
