"""The verb that looks ahead: plan."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from evokd.cli.parser import OVERRIDES, flag, positive, verb
from evokd.errors import InputError
from evokd.recipe.file import load_recipe
from evokd.rundir.files import write_text


@verb(
    "evokd plan table1 --gpus 8 --gpu h100 --price 2.5",
    flag("recipe RECIPE", "a YAML file, or one of `evokd recipes` by its name"),
    flag("--gpus N", "cards that it may use; default: 1", type=positive, default=1),
    flag("--gpu NAME", "what they are: h100, a100, l40s, 4090, …; default: this machine"),
    flag("--gpu-memory SIZE", "of each: 80GiB"),
    flag("--price EUR", "of an hour of one card, in any currency", type=float),
    flag("--pairs N", "sentence pairs of an epoch, where the text isn't at hand", type=positive),
    flag(
        "--config MODEL=FILE",
        "teacher=config.json: of a model whose shape isn't known here",
        action="append",
        default=[],
    ),
    flag("-o --output DIR", "of a run, whose corpus is counted; default: runs/NAME", type=Path),
    flag("--picture FILE", "write bars of each stage's memory there, as SVG", type=Path),
    flag("--format", "default: text", choices=["text", "json"], default="text"),
    OVERRIDES,
)
def plan(args: argparse.Namespace) -> int:
    """What a study takes before it is run: memory, disk, hours, and what would make it fit."""
    from evokd.plan.devices import chosen_device
    from evokd.plan.models import shapes_of
    from evokd.plan.plan import make_plan
    from evokd.plan.rates import measured_rate
    from evokd.plan.stages import Ground
    from evokd.plan.text import text_of
    from evokd.report.plan_view import plan_picture, plan_text

    recipe = load_recipe(args.recipe, args.override)
    device = chosen_device(args.gpu, args.gpu_memory)
    folder = args.output or Path("runs") / recipe.name
    ground = Ground(
        shapes_of(recipe, dict(map(_named_config, args.config))),
        text_of(recipe, folder, args.pairs),
        device,
        args.gpus,
    )
    tree = make_plan(recipe, ground, args.price, measured_rate(device.name))
    if args.picture is not None:
        write_text(args.picture, plan_picture(tree))
    is_json = args.format == "json"
    print(json.dumps(tree, ensure_ascii=False, indent=1) if is_json else plan_text(tree))
    return 0


def _named_config(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if name not in ("teacher", "student") or not path:
        raise InputError(f"--config {text}: teacher=FILE and student=FILE are accepted")
    return name, Path(path)
