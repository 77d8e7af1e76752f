"""The verb for metrics: what there is, and what is installed."""

from __future__ import annotations

import argparse

from tabulate import tabulate

from evokd.cli.parser import flag, verb
from evokd.errors import InputError
from evokd.progress import say
from evokd.recipe.metrics import METRICS


@verb(
    "evokd metrics install comet",
    flag(
        "do install",
        "default: a list of all metrics",
        nargs="?",
        choices=["install"],
        metavar="install",
    ),
    flag("metric METRIC", "neural metrics to install", nargs="*"),
    flag("--model PATH", "a model on disk; default: the metric's own, from the hub"),
)
def metrics(args: argparse.Namespace) -> int:
    """Metrics: what each judges by and whether it is here; install gets a neural one."""
    from evokd.evaluate.neural import signature_of
    from evokd.evaluate.neural_install import install

    if args.do and not args.metric:
        raise InputError("evokd metrics install: name a metric, e.g. comet")
    for name in args.metric:
        say(f"{name}: {install(name, args.model, say)}")
    if args.metric:
        return 0
    rows = []
    for name, row in METRICS.items():
        here = (signature_of(name) or f"evokd metrics install {name}") if row.model else "built in"
        better = "lower" if row.lower_is_better else "higher"
        rows.append([name, better, " + ".join(row.needs), row.model or "", here])
    print(tabulate(rows, ["metric", "better", "judges by", "model", "here"], tablefmt="simple"))
    return 0
