"""The verbs that show something: score, methods, report."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tabulate import tabulate

from evokd.cli.console import at_terminal, said_yes
from evokd.cli.parser import TESTS, flag, verb
from evokd.errors import InputError
from evokd.progress import say
from evokd.recipe.metrics import DEFAULT_METRICS, METRICS
from evokd.recipe.objectives import objectives_table
from evokd.recipe.shipped import described, shipped_recipe, shipped_recipes


@verb(
    "evokd score -l en-de --src test.en --ref test.de a.txt b.txt -o compared",
    flag("hyp HYP", "a system's output, one segment a line, or a folder of them", nargs="+"),
    flag(
        "-l --direction en-de",
        "of the text: from en to de; en-de,de-en: HYP and the others are folders, with a file for "
        "each that has it in its name",
        type=lambda text: text.split(","),
        required=True,
    ),
    flag("--src FILE", "what was translated, to find what was left as it was or lost"),
    flag("--ref FILE", "references; repeat it for more than one", action="append", default=[]),
    flag("--test FILE", "both in one file, of any kind that a recipe reads; a folder of them"),
    flag(
        "-m --metrics METRIC",
        f"default: {', '.join(DEFAULT_METRICS)}; of {', '.join(METRICS)}",
        nargs="+",
        default=DEFAULT_METRICS,
    ),
    flag("--baseline HYP", "default: the first system"),
    *TESTS,
    flag("-o --output DIR", "write the page, the tables and the numbers there", type=Path),
    flag("--format", "default: table", choices=["json", "table"], default="table"),
)
def score(args: argparse.Namespace) -> int:
    """Any systems' output files against references."""
    from evokd.evaluate.files import as_table, score_files

    scores = score_files(
        args.direction,
        args.src,
        args.ref,
        args.hyp,
        args.metrics,
        args.baseline,
        test_path=args.test,
        test=args.significance,
        correction=args.correction,
        out=args.output,
    )
    for note in scores["notes"]:
        say(note)
    is_json = args.format == "json"
    print(json.dumps(scores, ensure_ascii=False, indent=1) if is_json else as_table(scores))
    if args.output is not None:
        from evokd.report.page import build_report

        say(f"page: {build_report(args.output)}")
    return 0


@verb("evokd methods | less -S")
def methods(args: argparse.Namespace) -> int:
    """What a recipe's methods may be: equation, settings and source of each, and short forms."""
    print(tabulate(objectives_table(), headers="keys", tablefmt="github"))
    return 0


@verb(
    "evokd recipes multi30k > mine.yaml",
    flag("name NAME", "print that one; reference has every key", nargs="?"),
)
def recipes(args: argparse.Namespace) -> int:
    """The recipes that come with evokd, to run by name or to begin with."""
    if args.name:
        print(shipped_recipe(args.name).read_text(encoding="utf-8"), end="")
        return 0
    rows = [[name, described(path)] for name, path in shipped_recipes().items()]
    print(tabulate(rows, tablefmt="plain", maxcolwidths=[None, 80]))
    return 0


@verb("evokd report runs/demo", flag("run DIR", "the folder of a run", type=Path))
def report(args: argparse.Namespace) -> int:
    """Tables and page of a finished run, made anew."""
    from evokd.report.map import has_grid
    from evokd.report.map_page import build_map
    from evokd.report.page import build_report

    print(build_map(args.run) if has_grid(args.run) else build_report(args.run))
    return 0


@verb("evokd status runs/demo", flag("run DIR", "the folder of a run", type=Path))
def status(args: argparse.Namespace) -> int:
    """Where a run stands: what is done, what is at work and how far, what is left."""
    from evokd.study.status import status as status_of

    print("\n".join(status_of(args.run)))
    return 0


@verb("evokd verify runs/demo", flag("run DIR", "the folder of a run", type=Path))
def verify(args: argparse.Namespace) -> int:
    """Each flipped, torn, missing or foreign file of a run; 1 where there is one."""
    from evokd.rundir.lock import is_locked
    from evokd.rundir.verify import verify as problems_of

    if not args.run.is_dir():
        raise InputError(f"{args.run} not found; give the folder of a run")
    if not any(args.run.rglob("*.json")):
        raise InputError(f"{args.run} holds no run; give the folder of one")
    if is_locked(args.run):
        say(f"a run is at work in {args.run}: what it is writing may be named as well")
    problems = problems_of(args.run)
    print("\n".join(problems) or f"{args.run}: whole")
    return 1 if problems else 0


@verb(
    "evokd clean runs/demo",
    flag("run DIR", "the folder of a run", type=Path),
    flag("--yes", "don't ask", action="store_true"),
)
def clean(args: argparse.Namespace) -> int:
    """What a run's recipe doesn't use, or no run of a store; removed when you say so."""
    from evokd.study.cleanup import is_store, remove, unused

    found = unused(args.run)
    if not found:
        print(f"{args.run}: nothing to remove")
        return 0
    print(tabulate([[f"{mib:.1f} MiB", place] for place, mib in found.items()], tablefmt="plain"))
    whose = (
        "no run has a link to" if is_store(args.run) else f"{args.run / 'recipe.yaml'} doesn't use"
    )
    print(f"{sum(found.values()):.1f} MiB that {whose}")
    if not args.yes and not at_terminal():
        print("--yes removes it")
        return 0
    if args.yes or said_yes("remove it?"):
        remove(args.run, found)
        print("removed")
    return 0
