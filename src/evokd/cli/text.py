"""The verb for text: translate."""

from __future__ import annotations

import argparse
import sys

from evokd.cli.console import log, quiet
from evokd.cli.parser import PROMPT_HELP, flag, positive, verb
from evokd.errors import InputError

TIMED_LINES = 8
"""Lines that `translate --draft` gives to the teacher alone, too, for the speed-up."""


@verb(
    "evokd translate runs/demo/students/noevo.seed1/model -l en-de < in.txt > out.txt",
    flag("model MODEL", "a folder that evokd saved, or a hub id with --prompt"),
    flag("-l --direction en-de", required=True),
    flag(
        "--draft STUDENT", "a student of the model, to guess ahead: the same lines, one at a time"
    ),
    flag("--draft-tokens", "guessed at once; default: 5", type=positive, default=5),
    flag("--beam", type=positive, default=1),
    flag("--batch-size", type=positive, default=64),
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
    quiet()
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
    log(
        f"{len(lines)} lines, {translations.words_per_s:.0f} source words/s "
        f"({translations.dtype} on {translations.device}, beam {args.beam}, {how})"
    )
    return 0
