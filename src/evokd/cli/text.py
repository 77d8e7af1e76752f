"""The verb for text: translate."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evokd.cli.console import quiet, warn_of_direction
from evokd.cli.parser import DEVICE, DTYPE, PROMPT_HELP, flag, positive, verb
from evokd.data.documents import FORMS
from evokd.errors import InputError
from evokd.progress import say
from evokd.recipe.engines import ENGINES, OWN
from evokd.recipe.exports import is_export

TIMED_LINES = 8
"""Lines that `translate --draft` gives to the teacher alone, too, for the speed-up."""
BLOCK = 8
"""Batches that are sorted by length together, and written together."""


@verb(
    "evokd translate runs/demo/students/noevo.seed1/model -l en-de < in.txt > out.txt",
    flag("model MODEL", "a folder that evokd saved or exported, or a hub id with --prompt"),
    flag("-l --direction en-de", "of the text: from en to de", required=True),
    flag("-i --input FILE", "default: standard input", type=Path),
    flag(
        "-o --output FILE",
        "default: standard output; a killed run goes on where it was",
        type=Path,
    ),
    flag(
        "--format",
        f"{', '.join(FORMS)} (docs/translate.md); default: what the input's name ends in, or text",
        choices=list(FORMS),
    ),
    flag("--column N", "of tsv, counted from 1; default: 1", type=positive),
    flag("--key", "of the text in objects of jsonl; default: text"),
    flag(
        "--longest TOKENS",
        "lines with more are translated sentence by sentence; default: half of what models are "
        "trained on at once",
        type=positive,
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
    DEVICE,
    DTYPE,
)
def translate(args: argparse.Namespace) -> int:
    """Lines of a file, or of stdin, to as many lines of another, or of stdout; or a document."""
    from evokd.cli.documents import Output, check_output, form_of, found_in, said, text_of
    from evokd.data.languages import split_direction
    from evokd.data.prompts import load_prompt

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
    check_output(args)
    form, text = form_of(args), text_of(args)
    quiet()
    from evokd.export.exported import load_export
    from evokd.models.loading import load_translator, pick_device, pick_dtype
    from evokd.translate.engines.agreement import engine_facts
    from evokd.translate.engines.engine import generate_by, started

    device, _ = pick_device(args.device)
    dtype, _ = pick_dtype(args.dtype, device)
    warn_of_direction(args.model, args.direction)
    precision = str(dtype).removeprefix("torch.")
    exported = load_export(Path(args.model), device) if is_export(args.model) else None
    if exported is None:
        translator = load_translator(args.model, device, dtype, prompt)
    else:
        translator, precision = exported.translator, exported.precision
    student = load_translator(args.draft, device, dtype, prompt) if args.draft else None
    at_once = None if student else BLOCK * args.batch_size
    documents = found_in(text, form, args, translator, at_once)
    segments = [segment for document in documents for segment in document.segments]
    is_a_line_each = form == "text" and len(segments) == len(text.removesuffix("\n").split("\n"))
    unit = "lines" if is_a_line_each else "segments"
    output = Output(args, segments, precision)
    made, lost = output.done, []
    if made:
        say(f"{len(made)} of {len(segments)} {unit} are there, gone on with")
    already, start = len(made), 0
    seconds, words, how = 0.0, 0, f"batches of {args.batch_size}"
    own = started(translator, settings) if exported is None else exported.at_work()
    with own as engine:
        if exported is None:
            rest = segments[already:]
            noted = engine_facts(engine, translator, rest, args.direction, settings, say)
            how = f"{noted['engine']}, {how}" if noted else how
        else:
            how = f"{exported.by}, {how}"
        given = (direction, settings, args.draft_tokens, generate_by(engine, settings))
        for document in documents:
            end = start + len(document.segments)
            while len(made) < end:
                block = segments[len(made) : min(end, len(made) + (at_once or end))]
                place = (len(made), len(segments))
                translations, drafting = _translate(translator, student, block, *given, place)
                how = f"one line at a time; draft: {drafting}" if drafting else how
                output.add(translations.lines)
                made += translations.lines
                words += translations.source_words
                seconds += translations.seconds
            written = document.written(made[start:end])
            output.write(written.text)
            lost += written.lost
            start = end
    output.close()
    say(
        f"{len(segments) - already} {unit}, {words / seconds if seconds else 0:.0f} source words/s "
        f"({precision} on {device}, beam {args.beam}, {how})"
    )
    for line in said(documents, lost):
        say(line)
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
