"""The verbs that show something: score, methods, report."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from evokd.cli.parser import REPEATED, flag, verb
from evokd.recipe.metrics import DEFAULT_METRICS, METRICS
from evokd.recipe.objectives import objectives_table


@verb(
    "evokd score -l en-de --src test.en --ref test.de a.txt b.txt",
    flag("hyp HYP", "a system's output, one segment a line", nargs="+"),
    flag("-l --direction en-de", required=True),
    flag("--src F"),
    flag("--ref F", "references; repeat it for more than one", **REPEATED),
    flag(
        "--metrics METRIC",
        f"default: {', '.join(DEFAULT_METRICS)}; of {', '.join(METRICS)}",
        nargs="+",
        default=DEFAULT_METRICS,
    ),
    flag("--baseline HYP", "default: the first system"),
    flag("--format", choices=["json", "table"], default="table"),
)
def score(args: argparse.Namespace) -> int:
    """Any systems' output files against references."""
    from evokd.evaluate.files import as_table, score_files

    scores = score_files(
        args.direction, args.src, args.ref, args.hyp, args.metrics, baseline=args.baseline
    )
    is_json = args.format == "json"
    print(json.dumps(scores, ensure_ascii=False, indent=1) if is_json else as_table(scores))
    return 0


@verb("evokd methods | less -S")
def methods(args: argparse.Namespace) -> int:
    """What a recipe's methods may be: equation, settings and source of each, and short forms."""
    from tabulate import tabulate

    print(tabulate(objectives_table(), headers="keys", tablefmt="github"))
    return 0


@verb("evokd report runs/demo", flag("run DIR", "the folder of a run", type=Path))
def report(args: argparse.Namespace) -> int:
    """Tables and page of a finished run, made anew."""
    from evokd.report.map import has_grid
    from evokd.report.map_page import build_map
    from evokd.report.page import build_report

    print(build_map(args.run) if has_grid(args.run) else build_report(args.run))
    return 0
