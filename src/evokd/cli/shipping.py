"""The verb that makes a model ready to be used elsewhere: export."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evokd.cli.console import quiet, warn_of_direction
from evokd.cli.parser import PROMPT_HELP, flag, positive, verb
from evokd.errors import InputError
from evokd.progress import say
from evokd.recipe.exports import FORMATS, ExportSettings, check_format, is_export

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
    if is_export(args.model):
        raise InputError(f"{args.model} is an export; name the model that it was made from")
    quiet()
    import torch

    from evokd.export.parity import export_compared
    from evokd.models.loading import load_translator, pick_dtype
    from evokd.models.saving import trained_directions
    from evokd.recipe.judging import DecodingSettings

    check_format(args.to, args.quantize)
    settings = ExportSettings(to=args.to, quantize=args.quantize, lines=args.lines)
    trained = trained_directions(args.model)
    if args.direction:
        warn_of_direction(args.model, args.direction)
    directions = trained or ([args.direction] if args.direction else [])
    texts = _texts(args, [args.direction] if args.direction else directions)
    if args.strict and not texts:
        raise InputError("--strict: nothing to compare on; name a text with --src, --ref and -l")
    device = torch.device("cpu")
    dtype, _ = pick_dtype(args.dtype, device)

    def load() -> Any:
        return load_translator(args.model, device, dtype, prompt)

    found = export_compared(
        load, args.output, settings, directions, _origin(args.model), texts, DecodingSettings(), say
    )
    if not texts:
        say("not compared: name a text with --src, --ref and -l")
    elif page := _noted_in_run(Path(args.model), found):
        say(f"shown on {page}")
    return BAD_PARITY if args.strict and found.get("differs") else 0


def _origin(model: str) -> str:
    """A hub id, or the end of a path: where it lies on this machine is nobody's business."""
    path = Path(model).absolute()
    if not path.exists():
        return model
    in_run = path.name == "model" and path.parents[1].name in ("students", "exports")
    return "/".join(path.parts[-3:] if in_run else path.parts[-1:])


def _noted_in_run(model: Path, found: Mapping[str, Any]) -> Path | None:
    """Note what came of a run's student in the run, and its page, which shows it."""
    from evokd.report.page import build_report
    from evokd.rundir.records import write_record
    from evokd.rundir.stage import manifest_in
    from evokd.study.places import Paths

    stage = model.absolute().parent
    run, made = stage.parent.parent, manifest_in(stage).get("fingerprint")
    paths = Paths(run)
    if made is None or stage.parent != paths.students or not paths.results.exists():
        return None
    path = paths.exports / stage.name / f"{found['format']}-{found['quantization']}.json"
    write_record(run, path, {"system": made, "file": path.name}, {"found": found})
    return build_report(run)


def _texts(args: argparse.Namespace, directions: list[str]) -> list[Any]:
    """What is compared on. Raises InputError: half of what is needed was given."""
    from evokd.export import parity

    if args.src is None and args.ref is None:
        return parity.texts_of_run(Path(args.model), directions)
    if args.src is None or args.ref is None or args.direction is None:
        raise InputError("--src, --ref and -l go together: text, its translation, its direction")
    return [parity.read_text(args.src, args.ref, args.direction)]
