"""Every test sentence for the page, in blocks that stay packed until its script shows them."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from evokd.recipe.metrics import describe
from evokd.report.formatting import arrow
from evokd.report.results import Record, Results

DIGITS = 3
"""Significant ones of a segment's score."""


def packed(results: Results) -> list[dict[str, str]]:
    """A block for each test set and direction: its key, its title and its data, gzip in base64.

    All that is said of one sentence stands together (source, references, the systems' lines, their
    scores by metric), so that lines which resemble each other are packed well.
    """
    return [
        {
            "key": place(row["test_set"], row["direction"]),
            "title": f"{row['test_set']} · {arrow(row['direction'])}",
            "data": base64.b64encode(gzip.compress(_block(row, results), mtime=0)).decode("ascii"),
        }
        for row in results.files.sentences
    ]


def place(test_set: str, direction: str) -> str:
    """The key of a block."""
    return f"{test_set} {direction}"


def link(test_set: str, direction: str, system: str, **more: str) -> str:
    """What the browser of sentences shows, as the part of an address after "?".

    Args:
        more: "metric", "sort" or "kind" (of behaviour).
    """
    return urlencode({"at": place(test_set, direction), "a": system, **more})


def _block(row: Record, results: Results) -> bytes:
    outputs: Sequence[Record] = row["outputs"]
    metrics = list(dict.fromkeys(name for one in outputs for name in one["scores"]))
    several = len({one["seed"] for one in outputs} - {None}) > 1
    lines = [one["lines"] for one in outputs]
    scores = [[_scores(one, name) for one in outputs] for name in metrics]
    block: dict[str, Any] = {
        "baseline": results.baseline,
        "focus": results.focus,
        "metrics": [
            {"name": name, "label": spec.label, "lower": spec.lower_is_better}
            for name, spec in ((name, describe(name)) for name in metrics)
        ],
        "outputs": [
            {
                "system": one["system"],
                "seed": one["seed"],
                "name": _name(one, several),
                "behaviour": {kind: found for kind, found in one["behaviour"].items() if found},
            }
            for one in outputs
        ],
        "rows": [
            [
                (row["sources"] or [None] * len(lines[0]))[i],
                [document[i] for document in row["references"]],
                [own[i] for own in lines],
                [[own[i] for own in of_metric] for of_metric in scores],
            ]
            for i in range(len(lines[0]) if lines else 0)
        ],
    }
    return json.dumps(block, ensure_ascii=False, separators=(",", ":")).encode()


def _name(output: Record, several: bool) -> str:
    shown = several and output["seed"] is not None
    return f"{output['system']} · seed {output['seed']}" if shown else str(output["system"])


def _scores(output: Record, metric: str) -> list[float | None]:
    scores = output["scores"].get(metric) or [None] * len(output["lines"])
    return [None if score is None else float(f"{score:.{DIGITS}g}") for score in scores]
