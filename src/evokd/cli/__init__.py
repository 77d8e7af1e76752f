"""The verbs: each stands under its flags, calls one function and prints what that returns."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import evokd.cli.studies
import evokd.cli.text
import evokd.cli.views  # noqa: F401  (their verbs, in this order)
from evokd.cli.parser import arguments
from evokd.errors import InputError

EXIT_BAD_INPUT = 2
EXIT_FAILED = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; 0 when it went well, 2 for bad input, 1 for a run that failed."""
    args = arguments(list(sys.argv[1:] if argv is None else argv))
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
