"""The verb that has models answer over HTTP: serve."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from pathlib import Path

from evokd.cli.console import quiet
from evokd.cli.parser import DEVICE, DTYPE, PROMPT_HELP, Flag, flag, positive, verb
from evokd.errors import InputError, require
from evokd.progress import say
from evokd.serve.limits import Limits

LOCAL = "127.0.0.1"


def seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is given; seconds above 0 are accepted")
    return number


def port(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is given; 0 to 65535 are accepted")
    return number


def _most(name: str, what: str, usual: int) -> Flag:
    return flag(name, f"{what}; default: {usual}", type=positive, default=usual)


@verb(
    "evokd serve runs/demo/students/auto.seed1/model --port 5000",
    flag("models MODEL", "folders that evokd saved or exported, or hub ids", nargs="+"),
    flag("--host", f"address to answer at; default: {LOCAL}, this machine only", default=LOCAL),
    flag("--port", "0 takes a free one; default: 5000", type=port, default=5000),
    flag("--api-keys FILE", "a key a line; default: nobody needs one", type=Path),
    _most("--batch-size", "lines translated at once", Limits.batch_size),
    _most("--beam", "hypotheses side by side", Limits.beam),
    _most("--max-body", "bytes of a request", Limits.body),
    _most("--max-line", "characters of a line", Limits.line),
    _most("--max-lines", "of a request", Limits.lines),
    _most("--queue", "lines that may wait", Limits.waiting),
    _most("--connections", "at once", Limits.connections),
    flag(
        "--timeout",
        f"seconds until an answer; default: {Limits.seconds}",
        type=seconds,
        default=Limits.seconds,
    ),
    flag(
        "--read-timeout",
        f"seconds for a request's head, its body, its answer; default: {Limits.reading}",
        type=seconds,
        default=Limits.reading,
    ),
    flag(
        "-l --direction en-de",
        "of models that don't say what they were trained for; default: what they say",
        action="append",
        default=[],
    ),
    flag("--prompt PROMPT", f"{PROMPT_HELP}; default: each model's own"),
    DEVICE,
    DTYPE,
)
def serve(args: argparse.Namespace) -> int:
    """LibreTranslate's and OpenAI's APIs, and a page, by one or more models."""
    from evokd.data.languages import split_direction

    for package in ("fastapi", "uvicorn", "prometheus_client"):
        require(package, "serve", "evokd serve")
    for direction in args.direction:
        split_direction(direction)
    from evokd.serve.requests import Keys
    from evokd.serve.server import address_of, bind

    keys = Keys.read(args.api_keys)
    bound = bind(args.host, args.port)  # before minutes of loading
    quiet()
    from evokd.export.translator import Translator
    from evokd.serve.app import make_app
    from evokd.serve.metrics import Metrics
    from evokd.serve.server import Server
    from evokd.serve.translators import Translators

    limits = Limits(
        batch_size=args.batch_size,
        beam=args.beam,
        body=args.max_body,
        line=args.max_line,
        lines=args.max_lines,
        waiting=args.queue,
        connections=args.connections,
        seconds=args.timeout,
        reading=args.read_timeout,
    )
    models = {}
    for name, where in zip(_names(args.models), args.models, strict=True):
        model = Translator.load(where, prompt=args.prompt, device=args.device, dtype=args.dtype)
        model.directions = model.directions or args.direction
        if not set(args.direction) <= set(model.directions):
            raise InputError(
                f"{where} says itself that it translates {', '.join(model.directions)}; -l is for "
                "models that don't"
            )
        for direction in model.directions[:1]:  # what can't work is said now
            list(model.answers(["a"], *split_direction(direction), beam=args.beam))
        models[name] = model
    metrics = Metrics()
    translators = Translators(models, limits, metrics)
    for name in translators.workers:
        what = ", ".join("-".join(pair) for pair in translators.of(name))
        say(f"{name}: {what}")
    if args.host not in (LOCAL, "localhost", "::1") and not keys:
        say(f"warning: whoever reaches {args.host} may translate; --api-keys FILE asks for keys")
    gc.collect()
    gc.freeze()  # torch's hundred thousands of objects, looked through, stop all for half a second
    app = make_app(translators, metrics, keys, limits)
    told = f"answering at {address_of(bound)}; Ctrl-C stops"
    answered_all = Server(app, limits, lambda: say(told)).answer(bound)
    gc.unfreeze()  # or libraries complain of it in the end
    if not translators.close():
        sys.stderr.flush()
        os._exit(1)  # a thread that is in the middle of a model has no other end
    say("stopped" if answered_all else "stopped before all requests were answered")
    return 0 if answered_all else 1


def _names(models: list[str]) -> list[str]:
    """What models are called: their folders' names, or the paths where two have the same one.

    Raises:
        InputError: one model twice.
    """
    if len(set(models)) < len(models):
        raise InputError(f"a model is named twice: {', '.join(models)}")
    folders = [Path(model) for model in models]
    names = [each.parent.name if each.name == "model" else each.name for each in folders]
    return names if len(set(names)) == len(names) and all(names) else models
