"""The verbs: each stands under its flags, calls one function and prints what that returns."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import evokd.cli.comparing
import evokd.cli.metrics
import evokd.cli.planning
import evokd.cli.pushing
import evokd.cli.serving
import evokd.cli.shipping
import evokd.cli.studies
import evokd.cli.text
import evokd.cli.views  # noqa: F401  (their verbs, in this order)
from evokd import processes
from evokd.cli.parser import arguments
from evokd.errors import InputError
from evokd.processes import AlreadyTold

EXIT_BAD_INPUT = 2
EXIT_FAILED = 1
OUT_OF_MEMORY = (
    "this takes more memory than there is; a smaller training.micro_batch_size, training.max_length"
    " or decoding.batch_tokens needs less, as smaller models do. The same command goes on from the "
    "last checkpoint"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; 0 when it went well, 2 for bad input, 1 for a run that failed."""
    gc.set_threshold(20_000)  # imports make a million objects, and keep them
    typed = list(sys.argv[1:] if argv is None else argv)
    args = arguments(typed)
    args.argv = typed
    return processes.leave(_status_of(args))


def _status_of(args: argparse.Namespace) -> int:
    try:
        status = int(args.verb(args) or 0)
        sys.stdout.flush()  # here, where a closed pipe can still be told from a failure
        return status
    except InputError as error:
        if not isinstance(error, AlreadyTold):
            whose = "" if processes.is_first() else f"process {processes.number()}: "
            print(f"evokd: {whose}{error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except KeyboardInterrupt:
        if processes.count() == 1:  # or torchrun's
            print("evokd: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("EVOKD_TRACEBACK"):
            raise
        if _is_lack_of_memory(error):
            print(f"evokd: {OUT_OF_MEMORY}", file=sys.stderr)
            return EXIT_BAD_INPUT
        where = traceback.extract_tb(error.__traceback__)[-1]
        print(
            f"evokd: the run failed: {type(error).__name__}: {error}\n"
            f"  at {Path(where.filename).name}:{where.lineno}; "
            "EVOKD_TRACEBACK=1 shows all of it; the same command goes on from the last checkpoint",
            file=sys.stderr,
        )
        return EXIT_FAILED


def _is_lack_of_memory(error: Exception) -> bool:
    """Python's, torch's on a GPU, and torch's on a CPU, which has no name of its own."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or "can't allocate memory" in str(error)
