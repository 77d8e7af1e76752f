"""The verb for text: translate."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evokd.cli.console import quiet
from evokd.cli.parser import PROMPT_HELP, flag, positive, verb
from evokd.errors import InputError
from evokd.export.formats import is_export
from evokd.progress import say
from evokd.recipe.engines import ENGINES, OWN

TIMED_LINES = 8
"""Lines that `translate --draft` gives to the teacher alone, too, for the speed-up."""
BLOCK = 8
"""Batches that are sorted by length together, and written together."""


@verb(
    "evokd translate runs/demo/students/noevo.seed1/model -l en-de < in.txt > out.txt",
    flag("model MODEL", "a folder that evokd saved or exported, or a hub id with --prompt"),
    flag("-l --direction en-de", "of the text: from en to de", required=True),
    flag("-i --input FILE", "text, a sentence a line; default: standard input", type=Path),
    flag(
        "-o --output FILE",
        "default: standard output; a file is written as its lines are made, and a killed run goes "
        "on in it",
        type=Path,
    ),
    flag(
        "--draft STUDENT", "a student of the model, to guess ahead: the same lines, one at a time"
    ),
    flag("--draft-tokens", "guessed at once; default: 5", type=positive, default=5),
    flag(
        "--beam",
        "hypotheses side by side; default: 1",
        type=positive,
        default=1,
    ),
    flag("--batch-size", "sentences at once; default: 64", type=positive, default=64),
    flag(
        "--engine",
        f"{' or '.join(ENGINES)} (docs/engines.md); default: {OWN}",
        default=OWN,
        choices=list(ENGINES),
    ),
    flag("--int8", "weights in 8 bits, which ctranslate2 can", action="store_true"),
    flag("--prompt PROMPT", f"{PROMPT_HELP}; default: the model's own"),
    flag("--device", "auto, cpu, cuda, cuda:1, mps; default: auto", default="auto"),
    flag(
        "--dtype",
        "number format; default: auto, float32 on a CPU",
        default="auto",
        choices=["auto", "float32", "bfloat16", "float16"],
    ),
)
def translate(args: argparse.Namespace) -> int:
    """Lines of a file, or of stdin, to as many lines of another, or of stdout."""
    from evokd.data.languages import split_direction
    from evokd.data.prompts import load_prompt
    from evokd.data.textfiles import decode, read_lines, split_lines

    direction = split_direction(args.direction)
    prompt = load_prompt(args.prompt) if args.prompt else None
    if args.draft and args.beam > 1:
        raise InputError(
            f"--draft together with --beam {args.beam}; drafts are of greedy translations only: "
            "leave one of them out"
        )
    if args.draft and args.engine != "evokd":
        raise InputError(
            f"--draft together with --engine {args.engine}; drafts are for evokd's own decoder: "
            "leave one of them out"
        )
    if is_export(args.model):
        _check_export(args)
    settings = _settings(args)
    if args.input:
        lines = read_lines(args.input, may_be_empty=True)
    else:
        lines = split_lines(decode(sys.stdin.buffer.read(), "standard input", may_be_empty=True))
    quiet()
    from evokd.export.exported import load_export
    from evokd.models.loading import load_translator, pick_device, pick_dtype
    from evokd.models.saving import trained_directions
    from evokd.translate.engines.agreement import engine_facts
    from evokd.translate.engines.engine import generate_by, started

    device, _ = pick_device(args.device)
    dtype, _ = pick_dtype(args.dtype, device)
    known = trained_directions(args.model)
    if known and "-".join(direction) not in known:
        say(
            f"warning: {args.model} was never trained on {args.direction}; it was on "
            f"{', '.join(known)}"
        )
    precision = str(dtype).removeprefix("torch.")
    exported = load_export(Path(args.model), device) if is_export(args.model) else None
    if exported is None:
        translator = load_translator(args.model, device, dtype, prompt)
    else:
        translator, precision = exported.translator, exported.precision
    student = load_translator(args.draft, device, dtype, prompt) if args.draft else None
    done, write, close = _output(args, lines, precision)
    if done:
        say(f"{done} of {len(lines)} lines are there, gone on with")
    seconds, words, how = 0.0, 0, f"batches of {args.batch_size}"
    size = len(lines) if student else BLOCK * args.batch_size
    own = started(translator, settings) if exported is None else exported.at_work()
    with own as engine:
        if exported is None:
            noted = engine_facts(engine, translator, lines[done:], args.direction, settings, say)
            how = f"{noted['engine']}, {how}" if noted else how
        else:
            how = f"{exported.by}, {how}"
        given = (direction, settings, args.draft_tokens, generate_by(engine, settings))
        for start in range(done, len(lines), max(1, size)):
            block, place = lines[start : start + size], (start, len(lines))
            translations, drafting = _translate(translator, student, block, *given, place)
            how = f"one line at a time; draft: {drafting}" if drafting else how
            write(translations.lines)
            words += translations.source_words
            seconds += translations.seconds
    close()
    say(
        f"{len(lines) - done} lines, {words / seconds if seconds else 0:.0f} source words/s "
        f"({precision} on {device}, beam {args.beam}, {how})"
    )
    return 0


def _check_export(args: argparse.Namespace) -> None:
    """Raises InputError: a flag that an export's files have decided already."""
    chosen = {
        "--draft": args.draft is not None,
        "--engine": args.engine != OWN,
        "--int8": args.int8,
        "--dtype": args.dtype != "auto",
        "--prompt": args.prompt is not None,
    }
    named = [name for name, given in chosen.items() if given]
    if named:
        raise InputError(
            f"{args.model} is an export, which says itself how it is read; leave "
            f"{', '.join(named)} out"
        )


def _settings(args: argparse.Namespace) -> Any:
    """How lines are decoded. Raises InputError: an engine that isn't here, or can't do it."""
    from evokd.recipe.engines import check_installed
    from evokd.recipe.judging import DecodingSettings

    spec = ENGINES[args.engine]
    if args.int8 and "int8" not in spec.precisions:
        able = " or ".join(name for name, one in ENGINES.items() if "int8" in one.precisions)
        raise InputError(
            f"--int8 together with --engine {args.engine}; type --engine {able}, or leave --int8 "
            "out"
        )
    if args.beam > 1 and not spec.beams:
        raise InputError(
            f"--beam {args.beam} together with --engine {args.engine}, which translates greedily: "
            "leave one of them out"
        )
    check_installed(args.engine)
    asked = {"beam": args.beam, "batch_size": args.batch_size, "engine": args.engine}
    return DecodingSettings(**asked, precision="int8" if args.int8 else "auto")


def _translate(
    translator: Any,
    student: Any,
    block: Sequence[str],
    direction: tuple[str, str],
    settings: Any,
    draft_tokens: int,
    generate: Any,
    place: tuple[int, int],
) -> tuple[Any, Any]:
    """Translations of some lines, and what a draft did for them."""
    from evokd.progress import progress_bar
    from evokd.translate.decoding import translate as translate_lines
    from evokd.translate.speculative import translate_with_draft

    start, total = place
    bar = progress_bar("translate", passing=True)
    request = (block, *direction, settings, lambda done, _: bar(start + done, total))
    if student is None:
        return translate_lines(translator, *request, generate), None
    return translate_with_draft(
        translator, student, *request, draft_tokens, timed_lines=TIMED_LINES
    )


def _output(
    args: argparse.Namespace, lines: Sequence[str], dtype: str
) -> tuple[int, Callable[[Sequence[str]], None], Callable[[], None]]:
    """How many lines are there already, what writes more of them, and what ends it."""
    from evokd.rundir.files import fingerprint
    from evokd.translate.partial import PartialOutput

    if args.output is None:
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]

        def write(made: Sequence[str]) -> None:
            sys.stdout.writelines(line + "\n" for line in made)
            sys.stdout.flush()

        return 0, write, sys.stdout.flush
    folder = Path(args.model)
    stamps = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(folder.glob("*"))]
    asked = {key: getattr(args, key) for key in ("model", "direction", "beam", "prompt", "draft")}
    if args.engine != "evokd":
        asked |= {"engine": args.engine, "int8": args.int8}
    made_of = {**asked, "dtype": dtype, "lines": fingerprint(list(lines)), "files": stamps}
    output = PartialOutput(args.output, made_of)
    return output.done, output.add, output.finish
