"""The verbs that look at runs from outside: compare, list, cite."""

from __future__ import annotations

import argparse
from pathlib import Path

from evokd.cli.parser import TESTS, flag, verb
from evokd.progress import say
from evokd.recipe.metrics import METRICS


@verb(
    "evokd compare runs/one runs/two other.en-de.txt -o compared",
    flag("runs RUN", "a finished run; what evokd score -o wrote; a system's output", nargs="+"),
    flag("-o --output DIR", "write the page, the tables and the numbers there", type=Path),
    flag("--baseline SYSTEM", "default: that of the first run"),
    flag(
        "-m --metrics METRIC",
        f"default: those that all runs have; of {', '.join(METRICS)}",
        nargs="+",
    ),
    *TESTS,
)
def compare(args: argparse.Namespace) -> int:
    """Finished runs and other systems' outputs on the same test sets, in one table and page."""
    from evokd.evaluate.judged import judged_tree, write_judged
    from evokd.evaluate.side_by_side import side_by_side
    from evokd.report.page import build_report
    from evokd.report.results import Results
    from evokd.report.tables import as_text

    how = (args.significance, args.correction)
    found = side_by_side(args.runs, args.baseline, args.metrics, *how)
    judged = (found.outputs, found.test_sets, found.metrics, found.baseline)
    print(as_text(Results(judged_tree(found.found, *judged))))
    for note in found.found["notes"]:
        say(note)
    if args.output is not None:
        write_judged(args.output, found.found, *judged)
        say(f"page: {build_report(args.output)}")
    return 0


@verb(
    "evokd list runs",
    flag("folder FOLDER", "default: runs", nargs="?", default=Path("runs"), type=Path),
)
def list_(args: argparse.Namespace) -> int:
    """The runs in a folder: what each is, where it stands, what came of it."""
    from evokd.report.listing import listing

    print(listing(args.folder))
    return 0


@verb("evokd cite runs/demo > used.bib", flag("run DIR", "the folder of a run", type=Path))
def cite(args: argparse.Namespace) -> int:
    """BibTeX of every method, metric and test that a run used."""
    from evokd.report.citations import citations

    print(citations(args.run), end="")
    return 0
