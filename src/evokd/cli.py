"""The verbs. Each calls one function and prints what it returns."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evokd.errors import InputError
from evokd.recipe.file import check_recipe, load_recipe
from evokd.recipe.methods import METHOD_NAMES
from evokd.recipe.metrics import DEFAULT_METRICS, METRICS
from evokd.recipe.recipe import Recipe
from evokd.rundir import versions

EXIT_BAD_INPUT = 2
EXIT_FAILED = 1
TAKES_OVERRIDES = ("demo", "run", "distil", "cache")
TIMED_LINES = 8
"""Lines that `translate --draft` gives to the teacher alone, too, for the speed-up."""
OVERRIDE = re.compile(rf"(?:{'|'.join(Recipe.model_fields)})(?:\.[^=]+)?=")
"""key=value whose key is of the recipe: no flag of ours takes such a value."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; 0 when it went well, 2 for bad input, 1 for a run that failed."""
    args = _arguments(argv)
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


def demo(args: argparse.Namespace) -> int:
    """A whole study on the embedded phrasebook."""
    return _study(load_recipe(shipped_recipe("demo.yaml"), args.override), args.output)


def run(args: argparse.Namespace) -> int:
    """A study from its recipe."""
    recipe = load_recipe(args.recipe, args.override)
    if args.check:
        print(f"{args.recipe}: fine")
        return 0
    return _study(recipe, args.output or Path("runs") / recipe.name)


def distil(args: argparse.Namespace) -> int:
    """A study from flags; the recipe that it stands for is printed and saved."""
    from evokd.recipe.file import dump_recipe

    recipe = check_recipe(_recipe_of(args), args.override, origin="evokd distil")
    text = dump_recipe(recipe)
    print(f"# {args.output}/recipe.yaml, the recipe that this command stands for\n{text}")
    if args.check:
        return 0
    return _study(recipe, args.output)


def cache(args: argparse.Namespace) -> int:
    """A study's teacher, run once: what it says of all training text goes to DIR/cache."""
    recipe = load_recipe(args.recipe, args.override)
    _quiet()
    from tqdm import tqdm

    from evokd.study.run import cache as write_cache
    from evokd.study.teacher_cache import size_in_words

    folder, facts = write_cache(
        recipe,
        args.output or Path("runs") / recipe.name,
        note=lambda text: tqdm.write(text, file=sys.stderr),
    )
    print(f"{folder.resolve()}: {size_in_words(facts)}")
    return 0


def translate(args: argparse.Namespace) -> int:
    """Lines of stdin to lines of stdout."""
    from evokd.data.languages import split_direction
    from evokd.data.prompts import load_prompt
    from evokd.data.textfiles import decode, split_lines

    source, target = split_direction(args.direction)
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
    from evokd.translate.decoding import translate as translate_lines

    device, _ = pick_device(args.device)
    dtype, _ = pick_dtype(args.dtype, device)
    translator = load_translator(args.model, device, dtype, prompt)
    settings = DecodingSettings(beam=args.beam, batch_size=args.batch_size)
    shown = sys.stderr.isatty()
    if args.draft:
        from evokd.translate.speculative import translate_with_draft

        made, drafting = translate_with_draft(
            translator,
            load_translator(args.draft, device, dtype, prompt),
            *(lines, source, target, settings, shown, args.draft_tokens),
            timed_lines=TIMED_LINES,
        )
        how = f"one line at a time; draft: {drafting}"
    else:
        made = translate_lines(translator, lines, source, target, settings, progress=shown)
        how = f"batches of {made.batch_size}"
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
    sys.stdout.writelines(line + "\n" for line in made.lines)
    sys.stdout.flush()
    print(
        f"{len(made.lines)} lines, {made.words_per_s:.0f} source words/s "
        f"({made.dtype} on {made.device}, beam {made.beam}, {how})",
        file=sys.stderr,
    )
    return 0


def score(args: argparse.Namespace) -> int:
    """Any systems' output files against references."""
    from evokd.evaluate.files import as_table, score_files

    found = score_files(
        args.direction, args.src, args.ref, args.hyp, args.metrics, baseline=args.baseline
    )
    if args.format == "json":
        print(json.dumps(found, ensure_ascii=False, indent=1))
    else:
        print(as_table(found))
    return 0


def report(args: argparse.Namespace) -> int:
    """Tables and page of a finished run, made anew."""
    from evokd.report.page import build_report

    print(build_report(args.run))
    return 0


def shipped_recipe(name: str) -> Path:
    """A recipe that comes with the package, from a checkout or from an installed wheel."""
    here = Path(__file__).parent
    for folder in (here / "recipes", here.parent.parent / "recipes"):
        if (folder / name).exists():
            return folder / name
    raise InputError(f"the recipe {name} is missing from this installation of evokd")


def _study(recipe: Recipe, folder: Path) -> int:
    from evokd.report import analysis
    from evokd.report.headline import headline
    from evokd.report.results import Results
    from evokd.report.tables import as_text, examples_text

    _quiet()
    from tqdm import tqdm

    from evokd.study.run import run as run_study

    # tqdm's own write keeps clear of the progress bars.
    tree = run_study(recipe, folder, note=lambda text: tqdm.write(text, file=sys.stderr))
    results = Results(tree)
    print(as_text(results))
    if results.analysis:
        print("\n" + analysis.as_text(results))
    print("\n" + " ".join(headline(results)))
    if "hard_share" in tree["start"]:
        print(
            f"Hard tokens (d > 0.4 nats) before distillation: {tree['start']['hard_share']:.0%}."
        )
    print("\n" + examples_text(results))
    print(f"report: {(folder / 'report.html').resolve()}")
    return 0


def _recipe_of(args: argparse.Namespace) -> dict:
    def source(path: str) -> dict:
        return {"path": path}

    directions = [d for given in args.direction for d in given.split(",")]
    before = ["seq_kd"] if "seq_inter" in (args.method or ()) else []  # what it goes on from
    tree: dict = {
        "name": args.output.resolve().name,
        "directions": directions,
        "prompt": args.prompt,
        "corpus": {
            "train": [source(p) for p in args.train],
            "valid": [source(p) for p in args.valid],
            "test": [{"name": _test_name(p), **source(p)} for p in args.test],
        },
        "teacher": {"model": args.teacher, "sft": not args.teacher_as_is},
        "student": {"model": args.student},
        "methods": list(dict.fromkeys(["sft", *before, *(args.method or ["self_evolution"])])),
    }
    if not args.test:
        raise InputError(
            "no test set; add --test PREFIX (or sacrebleu:wmt22) so that the loss can be told"
        )
    return tree


def _test_name(path: str) -> str:
    stem = Path(path.split(":")[-1]).name
    return re.sub(r"[^A-Za-z0-9_-]+", "_", stem.removesuffix(".json")).strip("_-") or "test"


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


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parsed flags; overrides may stand anywhere, which argparse alone wouldn't take after -o or
    after a flag of several values."""
    parser = _parser()
    given = list(sys.argv[1:] if argv is None else argv)
    overrides = []
    if given and given[0] in TAKES_OVERRIDES:
        overrides = [text for text in given if OVERRIDE.match(text)]
        given = [text for text in given if not OVERRIDE.match(text)]
    args, rest = parser.parse_known_args(given)
    takes_more = hasattr(args, "override")
    unknown = [text for text in rest if text.startswith("-") or not takes_more]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if takes_more:
        args.override = [*args.override, *rest, *overrides]
    return args


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is given; 1 or more is accepted")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evokd",
        description="Distil a large LLM translator into a small one, and tell how well that went.",
        epilog="example: evokd demo   |   evokd VERB --help shows an example of each",
    )
    parser.add_argument("--version", action="version", version=versions()["evokd"])
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, function, example: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(
            name,
            help=function.__doc__.rstrip("."),
            description=function.__doc__,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(verb=function)
        return added

    overrides: Any = {
        "nargs": "*",
        "metavar": "key=value",
        "help": "settings of the recipe that differ, e.g. training.epochs=1",
    }
    p = verb("demo", demo, "evokd demo -o runs/demo")
    p.add_argument("-o", "--output", type=Path, default=Path("runs/demo"), metavar="DIR")
    p.add_argument("override", **overrides)

    p = verb("run", run, "evokd run recipes/multi30k.yaml -o runs/m30k training.epochs=1")
    p.add_argument(
        "recipe", metavar="RECIPE", help="a YAML file; recipes/reference.yaml has all keys"
    )
    p.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: runs/NAME")
    p.add_argument("--check", action="store_true", help="check the recipe and stop")
    p.add_argument("override", **overrides)

    p = verb(
        "distil",
        distil,
        "evokd distil --teacher ORG/BIG --student ORG/SMALL --train data/train -l en-de \\\n"
        "      --test data/test -o runs/mine",
    )
    p.add_argument(
        "--teacher", required=True, metavar="ID", help="hub id, folder, .gguf or 'fresh'"
    )
    p.add_argument(
        "--student", required=True, metavar="ID", help="hub id, folder, .gguf or 'fresh'"
    )
    p.add_argument(
        "--train",
        required=True,
        nargs="+",
        action="extend",
        metavar="PREFIX",
        help="parallel text: a prefix (PREFIX.en + PREFIX.de) or any file evokd reads",
    )
    p.add_argument(
        "-l",
        "--direction",
        required=True,
        action="append",
        metavar="en-de",
        help="direction; repeat it for more (-l en-de -l de-en)",
    )
    p.add_argument("--valid", nargs="*", action="extend", default=[], metavar="PREFIX")
    p.add_argument("--test", nargs="*", action="extend", default=[], metavar="PREFIX")
    p.add_argument(
        "--method",
        nargs="+",
        action="extend",
        choices=METHOD_NAMES,
        metavar="METHOD",
        help=f"default: self_evolution; of {', '.join(METHOD_NAMES)}",
    )
    p.add_argument("--prompt", default="parrot", help="parrot, alma, chat, compact or a file")
    p.add_argument("--teacher-as-is", action="store_true", help="don't fine-tune the teacher first")
    p.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    p.add_argument("--check", action="store_true", help="check the flags, print the recipe, stop")
    p.add_argument("override", **overrides)

    p = verb("cache", cache, "evokd cache recipes/multi30k.yaml -o runs/m30k teacher.signal=hidden")
    p.add_argument("recipe", metavar="RECIPE", help="the study whose teacher it is")
    p.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="the study's folder; default: runs/NAME"
    )
    p.add_argument("override", **overrides)

    p = verb(
        "translate",
        translate,
        "evokd translate runs/demo/students/noevo.seed1/model -l en-de < in.txt > out.txt",
    )
    p.add_argument(
        "model", metavar="MODEL", help="a folder that evokd saved, or a hub id with --prompt"
    )
    p.add_argument("-l", "--direction", required=True, metavar="en-de")
    p.add_argument(
        "--draft",
        metavar="STUDENT",
        help="a student of the model, to guess ahead: the same lines, one at a time",
    )
    p.add_argument("--draft-tokens", type=_positive, default=5, help="guessed at once; default: 5")
    p.add_argument("--beam", type=_positive, default=1)
    p.add_argument("--batch-size", type=_positive, default=64)
    p.add_argument(
        "--prompt", help="parrot, alma, chat, compact or a file; default: the model's own"
    )
    p.add_argument("--device", default="auto")
    p.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16", "float16"])

    p = verb("score", score, "evokd score -l en-de --src test.en --ref test.de a.txt b.txt")
    p.add_argument("hyp", nargs="+", metavar="HYP", help="a system's output, one segment a line")
    p.add_argument("-l", "--direction", required=True, metavar="en-de")
    p.add_argument("--src", metavar="F")
    p.add_argument(
        "--ref",
        required=True,
        action="append",
        metavar="F",
        help="references; repeat it for more than one",
    )
    p.add_argument(
        "--metrics",
        nargs="+",
        default=DEFAULT_METRICS,
        metavar="METRIC",
        help=f"default: {', '.join(DEFAULT_METRICS)}; of {', '.join(METRICS)}",
    )
    p.add_argument("--baseline", metavar="HYP", help="default: the first system")
    p.add_argument("--format", choices=["json", "table"], default="table")

    p = verb("report", report, "evokd report runs/demo")
    p.add_argument("run", type=Path, metavar="DIR", help="the folder of a run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
