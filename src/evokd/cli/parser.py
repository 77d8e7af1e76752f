"""How a verb and its flags are written down, and the command line they make."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any

import shtab

from evokd.cli.completion import COMPLETED
from evokd.data.prompts import PROMPTS
from evokd.recipe.recipe import Recipe
from evokd.rundir.versions import versions

OVERRIDE = re.compile(rf"(?:{'|'.join(Recipe.model_fields)})(?:\.[^=]+)?=")
"""key=value whose key is of the recipe: no flag of ours takes such a value."""

Flag = tuple[list[str], dict[str, Any]]
Verb = Callable[[argparse.Namespace], int]
PARSER = argparse.ArgumentParser(
    prog="evokd",
    description="Distil a large LLM translator into a small one, and tell how well that went.",
    epilog="example: evokd demo   |   evokd VERB --help shows an example of each",
)
PARSER.add_argument("--version", action="version", version=versions().get("evokd", "unknown"))
shtab.add_argument_to(
    PARSER, help='completion by Tab; in ~/.bashrc: eval "$(evokd --print-completion bash)"'
)
VERBS = PARSER.add_subparsers(metavar="VERB", required=True)


def verb(example: str, *flags: Flag) -> Callable[[Verb], Verb]:
    """Make a function a verb, whose docstring is its help."""

    def register(function: Verb) -> Verb:
        parser = VERBS.add_parser(
            function.__name__.rstrip("_"),  # list_
            help=str(function.__doc__).rstrip("."),
            description=function.__doc__,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.set_defaults(verb=function)
        for names, options in flags:
            action: Any = parser.add_argument(*names, **options)
            if action.metavar in COMPLETED:
                action.complete = COMPLETED[action.metavar]
        return function

    return register


def flag(usage: str, help: str, **options: Any) -> Flag:
    """A flag as its usage line shows it: "-o --output DIR", or "recipe RECIPE" for a positional."""
    first, *more = usage.split()
    names = [first, *(word for word in more if word.startswith("-"))]
    metavar = [word for word in more if not word.startswith("-")]
    return names, options | {"help": help} | ({"metavar": metavar[0]} if metavar else {})


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is given; 1 or more is accepted")
    return number


MODEL_HELP = "hub id, folder, .gguf or 'fresh'"
PROMPT_HELP = f"{', '.join(PROMPTS)} or a file"
SEVERAL: dict[str, Any] = {"nargs": "+", "action": "extend"}
REPEATED: dict[str, Any] = {"required": True, "action": "append"}
TESTS = (
    flag(
        "--significance TEST",
        "of differences; default: bootstrap",
        choices=["bootstrap", "randomization"],
        default="bootstrap",
    ),
    flag("--correction", "of p; default: none", choices=["none", "holm"], default="none"),
)
DEVICE = flag("--device", "auto, cpu, cuda, cuda:1, mps; default: auto", default="auto")
DTYPE = flag(
    "--dtype",
    "number format; default: auto, float32 on a CPU",
    default="auto",
    choices=["auto", "float32", "bfloat16", "float16"],
)
OVERRIDES = flag(
    "override key=value",
    "settings of the recipe that differ, e.g. training.epochs=1",
    nargs="*",
    default=[],
)


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parsed flags; overrides may stand anywhere, which argparse alone wouldn't take after -o or
    after a flag of several values."""
    chosen = VERBS.choices.get(argv[0]) if argv else None
    takes_overrides = chosen is not None and chosen.get_default("override") is not None
    overrides = [text for text in argv if takes_overrides and OVERRIDE.match(text)]
    args, rest = PARSER.parse_known_args([text for text in argv if text not in overrides])
    unknown = [text for text in rest if text.startswith("-") or not takes_overrides]
    if unknown:
        PARSER.error(f"unrecognized arguments: {' '.join(unknown)}")
    if takes_overrides:
        args.override = [*args.override, *rest, *overrides]
    return args
