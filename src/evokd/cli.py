"""The verbs: each stands under its flags, calls one function and prints what that returns."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evokd.data.prompts import PROMPTS
from evokd.errors import InputError
from evokd.recipe.file import check_recipe, dump_recipe, load_recipe
from evokd.recipe.formats import FORMATS
from evokd.recipe.metrics import DEFAULT_METRICS, METRICS
from evokd.recipe.objectives import method_names, objectives_table
from evokd.recipe.recipe import Recipe
from evokd.rundir import versions

EXIT_BAD_INPUT = 2
EXIT_FAILED = 1
TIMED_LINES = 8
"""Lines that `translate --draft` gives to the teacher alone, too, for the speed-up."""
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
VERBS = PARSER.add_subparsers(metavar="VERB", required=True)


def verb(example: str, *flags: Flag) -> Callable[[Verb], Verb]:
    """Make a function a verb, whose docstring is its help."""

    def register(function: Verb) -> Verb:
        parser = VERBS.add_parser(
            function.__name__,
            help=str(function.__doc__).rstrip("."),
            description=function.__doc__,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.set_defaults(verb=function)
        for names, options in flags:
            parser.add_argument(*names, **options)
        return function

    return register


def flag(usage: str, help: str | None = None, **options: Any) -> Flag:
    """A flag as its usage line shows it: "-o --output DIR", or "recipe RECIPE" for a positional."""
    first, *more = usage.split()
    names = [first, *(word for word in more if word.startswith("-"))]
    metavar = [word for word in more if not word.startswith("-")]
    return names, options | {"help": help} | ({"metavar": metavar[0]} if metavar else {})


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is given; 1 or more is accepted")
    return number


MODEL_HELP = "hub id, folder, .gguf or 'fresh'"
PROMPT_HELP = f"{', '.join(PROMPTS)} or a file"
SEVERAL: dict[str, Any] = {"nargs": "+", "action": "extend"}
REPEATED: dict[str, Any] = {"required": True, "action": "append"}
OVERRIDES = flag(
    "override key=value",
    "settings of the recipe that differ, e.g. training.epochs=1",
    nargs="*",
    default=[],
)


@verb(
    "evokd demo -o runs/demo",
    flag("-o --output DIR", type=Path, default=Path("runs/demo")),
    OVERRIDES,
)
def demo(args: argparse.Namespace) -> int:
    """A whole study on the embedded phrasebook."""
    return _study(load_recipe(shipped_recipe("demo.yaml"), args.override), args.output)


@verb(
    "evokd run recipes/multi30k.yaml -o runs/m30k training.epochs=1",
    flag("recipe RECIPE", "a YAML file; recipes/reference.yaml has all keys"),
    flag("-o --output DIR", "default: runs/NAME", type=Path),
    flag("--check", "check the recipe and stop", action="store_true"),
    OVERRIDES,
)
def run(args: argparse.Namespace) -> int:
    """A study from its recipe."""
    recipe = load_recipe(args.recipe, args.override)
    if args.check:
        print(f"{args.recipe}: fine")
        return 0
    return _study(recipe, args.output or Path("runs") / recipe.name)


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
    flag("--valid PREFIX", nargs="*", action="extend", default=[]),
    flag("--test PREFIX", nargs="*", action="extend", default=[]),
    flag(
        "--method METHOD",
        f"default: auto, what the check before training advises; of {', '.join(method_names())}",
        choices=method_names(),
        **SEVERAL,
    ),
    flag("--only", "without sft and forward_kd as controls beside it", action="store_true"),
    flag("--prompt", PROMPT_HELP, default="parrot"),
    flag("--teacher-as-is", "don't fine-tune the teacher first", action="store_true"),
    flag("-o --output DIR", type=Path, required=True),
    flag("--check", "check the flags, print the recipe, stop", action="store_true"),
    OVERRIDES,
)
def distil(args: argparse.Namespace) -> int:
    """A study from flags; the recipe that it stands for is printed and saved."""
    recipe = check_recipe(_recipe_of(args), args.override, origin="evokd distil")
    text = dump_recipe(recipe)
    print(f"# {args.output}/recipe.yaml, the recipe that this command stands for\n{text}")
    return 0 if args.check else _study(recipe, args.output)


@verb(
    "evokd cache recipes/multi30k.yaml -o runs/m30k teacher.signal=hidden",
    flag("recipe RECIPE", "the study whose teacher it is"),
    flag("-o --output DIR", "the study's folder; default: runs/NAME", type=Path),
    OVERRIDES,
)
def cache(args: argparse.Namespace) -> int:
    """A study's teacher, run once: what it says of all training text goes to DIR/cache."""
    recipe = load_recipe(args.recipe, args.override)
    _quiet()
    from evokd.study.run import cache as write_cache
    from evokd.study.teacher_cache import describe_size

    folder, facts = write_cache(recipe, args.output or Path("runs") / recipe.name, _log)
    print(f"{folder.resolve()}: {describe_size(facts)}")
    return 0


@verb(
    "evokd translate runs/demo/students/noevo.seed1/model -l en-de < in.txt > out.txt",
    flag("model MODEL", "a folder that evokd saved, or a hub id with --prompt"),
    flag("-l --direction en-de", required=True),
    flag(
        "--draft STUDENT", "a student of the model, to guess ahead: the same lines, one at a time"
    ),
    flag("--draft-tokens", "guessed at once; default: 5", type=_positive, default=5),
    flag("--beam", type=_positive, default=1),
    flag("--batch-size", type=_positive, default=64),
    flag("--prompt", f"{PROMPT_HELP}; default: the model's own"),
    flag("--device", default="auto"),
    flag("--dtype", default="auto", choices=["auto", "float32", "bfloat16", "float16"]),
)
def translate(args: argparse.Namespace) -> int:
    """Lines of stdin to lines of stdout."""
    from evokd.data.languages import split_direction
    from evokd.data.prompts import load_prompt
    from evokd.data.textfiles import decode, split_lines

    direction = split_direction(args.direction)
    prompt = load_prompt(args.prompt) if args.prompt else None
    if args.draft and args.beam > 1:
        raise InputError(
            f"--draft together with --beam {args.beam}; drafts are of greedy translations only: "
            "leave one of them out"
        )
    lines = split_lines(decode(sys.stdin.buffer.read(), "standard input", may_be_empty=True))
    _quiet()
    from evokd.models.loading import load_translator, pick_device, pick_dtype
    from evokd.recipe.judging import DecodingSettings
    from evokd.study.context import progress_bar
    from evokd.translate.decoding import translate as translate_lines
    from evokd.translate.speculative import translate_with_draft

    device, _ = pick_device(args.device)
    dtype, _ = pick_dtype(args.dtype, device)
    translator = load_translator(args.model, device, dtype, prompt)
    settings = DecodingSettings(beam=args.beam, batch_size=args.batch_size)
    request = (lines, *direction, settings, progress_bar("translate", passing=True))
    if args.draft:
        student = load_translator(args.draft, device, dtype, prompt)
        translations, drafting = translate_with_draft(
            translator, student, *request, args.draft_tokens, timed_lines=TIMED_LINES
        )
        how = f"one line at a time; draft: {drafting}"
    else:
        translations = translate_lines(translator, *request)
        how = f"batches of {translations.batch_size}"
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
    sys.stdout.writelines(line + "\n" for line in translations.lines)
    sys.stdout.flush()
    _log(
        f"{len(lines)} lines, {translations.words_per_s:.0f} source words/s "
        f"({translations.dtype} on {translations.device}, beam {args.beam}, {how})"
    )
    return 0


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; 0 when it went well, 2 for bad input, 1 for a run that failed."""
    args = _arguments(list(sys.argv[1:] if argv is None else argv))
    try:
        status = int(args.verb(args) or 0)
        sys.stdout.flush()  # here, where a closed pipe can still be told from a failure
        return status
    except InputError as error:
        print(f"evokd: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("evokd: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("EVOKD_TRACEBACK"):
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        print(
            f"evokd: the run failed: {type(error).__name__}: {error}\n"
            f"  at {Path(where.filename).name}:{where.lineno}; "
            "EVOKD_TRACEBACK=1 shows all of it; the same command goes on from the last checkpoint",
            file=sys.stderr,
        )
        return EXIT_FAILED


def shipped_recipe(name: str) -> Path:
    """A recipe that comes with the package, from a checkout or from an installed wheel."""
    here = Path(__file__).parent
    for folder in (here / "recipes", here.parent.parent / "recipes"):
        if (folder / name).exists():
            return folder / name
    raise InputError(f"the recipe {name} is missing from this installation of evokd")


def _arguments(argv: list[str]) -> argparse.Namespace:
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


def _study(recipe: Recipe, folder: Path) -> int:
    if recipe.grid:
        return _grid(recipe, folder)
    from evokd.report.console import study_text
    from evokd.report.results import Results

    _quiet()
    from evokd.study.run import run as run_study

    print(study_text(Results(run_study(recipe, folder, _log))))
    print(f"report: {(folder / 'report.html').resolve()}")
    return 0


def _grid(recipe: Recipe, folder: Path) -> int:
    from evokd.report.console import map_text

    _quiet()
    from evokd.study.grid import run_grid

    page = run_grid(recipe, folder, _log)
    print(f"{map_text(folder)}\nmap: {page.resolve()}")
    return 0


def _recipe_of(args: argparse.Namespace) -> dict[str, Any]:
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


def _log(text: str) -> None:
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)  # keeps clear of the progress bars


def _quiet() -> None:
    """Keep libraries from talking over the progress bars."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import logging
    import warnings

    from transformers.utils import logging as transformers_logging

    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
