"""The verbs that make something of text and models: demo, run, distil, cache."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from evokd import processes
from evokd.cli.console import at_terminal, quiet, said_yes
from evokd.cli.launch import is_to_launch, launch
from evokd.cli.parser import (
    MODEL_HELP,
    OVERRIDES,
    PROMPT_HELP,
    REPEATED,
    SEVERAL,
    flag,
    positive,
    verb,
)
from evokd.errors import InputError
from evokd.processes import by_first
from evokd.progress import say
from evokd.recipe.file import check_recipe, dump_recipe, load_recipe, points
from evokd.recipe.formats import FORMATS
from evokd.recipe.objectives import method_names
from evokd.recipe.recipe import Recipe
from evokd.recipe.shipped import shipped_recipe
from evokd.report.formatting import duration
from evokd.study.forecast import Forecast

LONG = 3600.0
"""Seconds of work done once before from which a run asks whether to do it again."""
CHECK_HELP = "open the text by sample, ask for the models without their weights, and stop"
LIMIT = flag("--limit N", "take the first N sentence pairs of each training source", type=positive)
STUDY_FLAGS = (
    flag(
        "--dry-run", "say what would be kept and made, and why; make nothing", action="store_true"
    ),
    flag("--format", "of --dry-run; default: text", choices=["text", "json"], default="text"),
    flag(
        "--store DIR", "stages that several runs share: what is there isn't made again", type=Path
    ),
    flag("--processes N", "train in so many, one for each GPU (docs/clusters.md)", type=int),
    flag("--yes", "don't ask before hours are spent again", action="store_true"),
    flag("--anyway", "begin even if a stage takes more memory than there is", action="store_true"),
    flag("--jobs N", "make so many stages at once, each with GPUs of its own", type=positive),
    flag(
        "--on ray|slurm",
        "make stages on a Ray cluster (ray, ray://HOST:PORT) or on Slurm, whose machines share the "
        "run folder (docs/clusters.md)",
    ),
    flag(
        "--gpus K",
        "of each stage with --on; default: 1, 0 with device: cpu or where a Ray cluster has none",
        type=float,
    ),
    flag("--slurm KEY=VALUE", "of --on slurm, e.g. partition=gpu timeout_min=600", **SEVERAL),
)


@verb(
    "evokd demo -o runs/demo",
    flag("-o --output DIR", "default: runs/demo", type=Path, default=Path("runs/demo")),
    *STUDY_FLAGS,
    OVERRIDES,
)
def demo(args: argparse.Namespace) -> int:
    """A whole study on the embedded phrasebook."""
    return _study(load_recipe(shipped_recipe("demo"), args.override), args.output, args)


@verb(
    "evokd run recipes/multi30k.yaml -o runs/m30k training.epochs=1",
    flag("recipe RECIPE", "a YAML file, or one of `evokd recipes` by its name"),
    flag("-o --output DIR", "default: runs/NAME", type=Path),
    flag("--check", CHECK_HELP, action="store_true"),
    flag(
        "--only STAGE",
        "make these and stop; named as --dry-run prints them, or by folder (students/sft.seed1)",
        **SEVERAL,
    ),
    LIMIT,
    *STUDY_FLAGS,
    OVERRIDES,
)
def run(args: argparse.Namespace) -> int:
    """A study from its recipe."""
    recipe = _limited(load_recipe(args.recipe, args.override), args.limit)
    if args.check:
        _check(recipe)
        print(f"{args.recipe}: fine")
        return 0
    folder = args.output or Path("runs") / recipe.name
    beside = {"--dry-run": args.dry_run, "--jobs": args.jobs, "--on": args.on}
    beside |= {"--gpus": args.gpus is not None, "--slurm": args.slurm}
    if args.only and any(beside.values()):
        named = ", ".join(name for name, given in beside.items() if given)
        raise InputError(f"--only makes stages here and now; leave out {named}, or --only")
    if args.only and is_to_launch(args.processes):
        return launch(args.processes, args.argv, recipe.device)
    if args.only:
        quiet()
        from evokd.study.jobs import make_only

        make_only(recipe, folder, args.only, say, args.store)
        if processes.is_first():
            print("\n".join(f"{folder}: {name} is there" for name in args.only))
        return 0
    return _study(recipe, folder, args)


@verb(
    "evokd distil --teacher ORG/BIG --student ORG/SMALL --train data/train -l en-de \\\n"
    "      --test data/test -o runs/mine",
    flag("--teacher ID", MODEL_HELP, required=True),
    flag("--student ID", MODEL_HELP, required=True),
    flag(
        "--train PREFIX",
        f"parallel text: a prefix (PREFIX.en + PREFIX.de), a file or an address; formats: "
        f"{', '.join(FORMATS)}",
        required=True,
        **SEVERAL,
    ),
    flag("-l --direction en-de", "direction; repeat it for more (-l en-de -l de-en)", **REPEATED),
    flag(
        "--valid PREFIX",
        "text to validate on; default: a fiftieth of the training text, at most 500 pairs",
        nargs="*",
        action="extend",
        default=[],
    ),
    flag(
        "--test PREFIX",
        "text to score on, needed; each is a test set",
        nargs="*",
        action="extend",
        default=[],
    ),
    flag(
        "--method METHOD",
        f"default: auto, what the check before training advises; of {', '.join(method_names())}",
        **SEVERAL,
    ),
    flag("--only", "without sft and forward_kd as controls beside it", action="store_true"),
    flag("--prompt PROMPT", f"{PROMPT_HELP}; default: parrot", default="parrot"),
    flag("--teacher-as-is", "don't fine-tune the teacher first", action="store_true"),
    flag("-o --output DIR", "the folder of the run", type=Path, required=True),
    flag("--check", f"print the recipe, {CHECK_HELP}", action="store_true"),
    LIMIT,
    *STUDY_FLAGS,
    OVERRIDES,
)
def distil(args: argparse.Namespace) -> int:
    """A study from flags; the recipe that it stands for is printed and saved."""
    recipe = check_recipe(recipe_of(args), args.override, origin="evokd distil")
    recipe = _limited(recipe, args.limit)
    text = dump_recipe(recipe)
    if args.format == "text" and not is_to_launch(args.processes) and processes.is_first():
        print(f"# {args.output}/recipe.yaml, the recipe that this command stands for\n{text}")
    if args.check:
        _check(recipe)
        return 0
    return _study(recipe, args.output, args)


@verb(
    "evokd cache recipes/multi30k.yaml -o runs/m30k teacher.signal=hidden",
    flag("recipe RECIPE", "the study whose teacher it is"),
    flag("-o --output DIR", "the study's folder; default: runs/NAME", type=Path),
    LIMIT,
    OVERRIDES,
)
def cache(args: argparse.Namespace) -> int:
    """A study's teacher, run once: what it says of all training text goes to DIR/cache."""
    recipe = _limited(load_recipe(args.recipe, args.override), args.limit)
    quiet()
    from evokd.study.run import cache as write_cache
    from evokd.study.teacher_cache import describe_size

    folder, facts = write_cache(recipe, args.output or Path("runs") / recipe.name, say)
    print(f"{folder.resolve()}: {describe_size(facts)}")
    return 0


def _limited(recipe: Recipe, pairs: int | None) -> Recipe:
    """A recipe as --limit changes it."""
    if pairs is None:
        return recipe
    return recipe.model_copy(update={"corpus": recipe.corpus.first(pairs)})


def _check(recipe: Recipe) -> None:
    """Look at what a recipe names, at each point of its grid where that differs."""
    with suppress(ImportError):  # the text can be looked at without torch
        quiet()
    from evokd.study.check import check

    looked_at: list[Any] = []
    for name, point in (points(recipe) if recipe.grid else {"": recipe}).items():
        made_wrong = {"train": {"__all__": {"noise"}}}  # changes nothing of what is read
        parts: tuple[Any, ...] = (point.corpus.model_dump(exclude=made_wrong), point.directions)
        parts += (point.prompt, point.tokenizer, point.teacher.model)
        parts += (point.student.model, point.student.cut)
        if parts in looked_at:
            continue
        looked_at.append(parts)
        if name:
            say(f"grid point {name}:")
        check(point, say)


def _study(recipe: Recipe, folder: Path, args: argparse.Namespace) -> int:
    from evokd.report.console import map_text, study_text
    from evokd.report.results import Results

    quiet()
    from evokd.study.grid import dry_run_grid, run_grid
    from evokd.study.run import dry_run
    from evokd.study.run import run as run_study

    if args.dry_run:
        return _forecast(
            dry_run_grid(recipe, folder, args.store)
            if recipe.grid
            else {"": dry_run(recipe, folder, store=args.store)},
            args.format,
        )
    if not (args.anyway or args.on) and processes.is_first():
        from evokd.study.room import check_room

        together = args.processes or processes.count()
        for name, point in (points(recipe) if recipe.grid else {"": recipe}).items():
            check_room(point, folder / name, together, args.store)
    if is_to_launch(args.processes):
        if args.jobs or args.on:
            raise InputError(
                "--processes spreads each training, --jobs and --on make stages side by side; take "
                "one of them"
            )
        return launch(args.processes, args.argv, recipe.device)
    if not recipe.grid and (folder / "results.json").exists():
        processes.join(recipe.device)
        forecast = by_first(lambda: dry_run(recipe, folder, store=args.store))
        by_first(lambda: _announce(forecast, args.yes))
    executor = _executor(recipe, folder, args)
    if executor is not None:
        from evokd.study.jobs import make_stages

        make_stages(recipe, folder, executor, say, args.store)
    if recipe.grid:
        page = run_grid(recipe, folder, say, args.store)
        if processes.is_first():
            print(f"{map_text(folder)}\nmap: {page.resolve()}")
        return 0
    results = run_study(recipe, folder, say, store=args.store)
    if processes.is_first():
        print(study_text(Results(results)))
        print(f"report: {(folder / 'report.html').resolve()}")
    return 0


def _executor(recipe: Recipe, folder: Path, args: argparse.Namespace) -> Any:
    """Where the flags want stages made; None: in this process.

    Raises:
        InputError: that can't be had.
    """
    from evokd.study import executors

    where, _, address = (args.on or "").partition("://")
    if args.slurm and where != "slurm":
        raise InputError("--slurm is for --on slurm")
    if args.gpus is not None and not where:
        raise InputError("--gpus is for --on; --jobs shares out the GPUs that there are")
    if not where:
        if not args.jobs:
            return None
        return executors.LocalPool(args.jobs, say, executors.visible_gpus(recipe.device))
    if args.jobs:
        raise InputError(
            "--jobs is for this machine; with --on the cluster knows how many it takes"
        )
    gpus = 0 if args.gpus is None and recipe.device == "cpu" else args.gpus
    if where == "ray":
        return executors.RayCluster(f"ray://{address}" if address else None, gpus)
    if args.on == "slurm":
        return executors.Slurm(folder, args.slurm or [], gpus)
    raise InputError(f"--on {args.on}: ray, ray://HOST:PORT and slurm are accepted")


def _forecast(points: Mapping[str, Forecast], format: str) -> int:
    """Print what a run would do, a study after the other."""
    if format == "json":
        trees = {point: one.as_dict() for point, one in points.items()}
        print(json.dumps(trees.get("", {"points": trees}), ensure_ascii=False, indent=1))
        return 0
    for point, one in points.items():
        print("\n".join([*([f"{point}:"] if point else []), *one.lines()]))
    return 0


def _announce(forecast: Forecast, yes: bool) -> None:
    """Say what is made anew; ask before hours are spent again.

    Raises:
        InputError: the answer is no.
    """
    seconds = forecast.seconds_again()
    if not any(step.action == "remake" for step in forecast.steps):
        return
    for line in forecast.lines(replaced_only=True):
        say(line)
    asked = seconds >= LONG and at_terminal() and not yes
    if asked and not said_yes(f"that takes about {duration(seconds)}; go on?"):
        raise InputError("nothing was changed; --yes goes on without asking")


def recipe_of(args: argparse.Namespace) -> dict[str, Any]:
    """The recipe that the flags of `distil` stand for."""
    if not args.test:
        raise InputError(
            "no test set; add --test PREFIX (or sacrebleu:wmt22) so that the loss can be told"
        )
    methods = args.method or ["auto"]
    before = [] if args.only else ["sft", "forward_kd"]
    before += ["seq_kd"] if "seq_inter" in methods else []  # what it goes on from
    return {
        "name": args.output.resolve().name,
        "directions": ",".join(args.direction).split(","),
        "prompt": args.prompt,
        "corpus": {
            "train": [{"path": path} for path in args.train],
            "valid": [{"path": path} for path in args.valid],
            "test": [{"name": _test_name(path), "path": path} for path in args.test],
            "held_out": 0 if args.teacher_as_is else 500,
        },
        "teacher": {"model": args.teacher, "sft": not args.teacher_as_is},
        "student": {"model": args.student},
        "methods": list(dict.fromkeys([*before, *methods])),
    }


def _test_name(path: str) -> str:
    stem = Path(path.split(":")[-1]).name
    return re.sub(r"[^A-Za-z0-9_-]+", "_", stem.removesuffix(".json")).strip("_-") or "test"
