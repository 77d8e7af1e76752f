"""The verb that makes a model ready to be used elsewhere: export."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from evokd.cli.console import quiet
from evokd.cli.parser import PROMPT_HELP, flag, positive, verb
from evokd.errors import InputError
from evokd.export.formats import FORMATS, is_export
from evokd.progress import say
from evokd.rundir.files import write_json

BAD_PARITY = 3
"""Exit code of `export --strict` where what was exported is significantly worse."""


@verb(
    "evokd export runs/demo/students/sft.seed1/model --to ctranslate2 --quantize int8 -o student",
    flag("model MODEL", "a folder that evokd saved, or a hub id with --prompt"),
    flag("--to FORMAT", f"{', '.join(FORMATS)} (docs/export.md)", required=True),
    flag(
        "--quantize Q",
        "number format of the weights, e.g. int8; default: none, the model's own",
        default="none",
    ),
    flag("-o --output DIR", "a new folder, or one of an earlier export", type=Path, required=True),
    flag("--src FILE", "text to compare on; default: the test sets of the run", type=Path),
    flag("--ref FILE", "its translation", type=Path),
    flag("-l --direction en-de", "of that text; default: all that the model was trained for"),
    flag("--lines", "of each text that are compared; default: 300", type=positive, default=300),
    flag("--strict", "exit with 3 where the export is significantly worse", action="store_true"),
    flag("--prompt PROMPT", f"{PROMPT_HELP}; default: the model's own"),
    flag(
        "--dtype",
        "number format that the model is read in; default: float32",
        default="float32",
        choices=["float32", "bfloat16", "float16"],
    ),
)
def export(args: argparse.Namespace) -> int:
    """A model in the format of another tool, compared with itself."""
    from evokd.data.languages import split_direction
    from evokd.data.prompts import load_prompt

    if args.direction:
        split_direction(args.direction)
    prompt = load_prompt(args.prompt) if args.prompt else None
    if args.output.exists() and not is_export(args.output):
        raise InputError(f"{args.output} is there and isn't an export; name a new folder with -o")
    quiet()
    import torch

    from evokd.export import exported, parity
    from evokd.models.loading import load_translator, pick_dtype
    from evokd.models.saving import trained_directions
    from evokd.recipe.judging import DecodingSettings

    exported.check_format(args.to, args.quantize)
    directions = [args.direction] if args.direction else trained_directions(args.model)
    texts = [text.sample(args.lines) for text in _texts(args, directions)]
    device = torch.device("cpu")
    dtype, _ = pick_dtype(args.dtype, device)

    def load() -> Any:
        return load_translator(args.model, device, dtype, prompt)

    facts = exported.export(load(), args.output, args.to, args.quantize, directions, args.model)
    size = sum(one.stat().st_size for one in args.output.rglob("*") if one.is_file()) / 2**20
    say(f"{args.output}: {facts['format']}, {facts['quantization']}, {size:.1f} MiB")
    if not texts:
        say("not compared: name a text with --src, --ref and -l")
        return 0
    found = parity.compared(
        load(),
        lambda: exported.load_export(args.output, device),
        texts,
        DecodingSettings(),
        say,
    )
    found |= {"size_mib": round(size, 2), "peak_mib": parity.peak_mib(args.output, texts[0])}
    write_json(args.output / exported.PARITY, facts | found)
    say(
        f"{found['words_per_s']:.0f} source words/s, {found['words_per_s_float']:.0f} before; one "
        f"line by itself {1000 * found['seconds_alone']:.0f} ms; read in {found['load_seconds']} s"
    )
    return BAD_PARITY if args.strict and found["differs"] else 0


def _texts(args: argparse.Namespace, directions: list[str]) -> list[Any]:
    """What is compared on. Raises InputError: half of what is needed was given."""
    from evokd.export import parity

    if args.src is None and args.ref is None:
        return parity.texts_of_run(Path(args.model), directions)
    if args.src is None or args.ref is None or args.direction is None:
        raise InputError("--src, --ref and -l go together: text, its translation, its direction")
    return [parity.read_text(args.src, args.ref, args.direction)]
