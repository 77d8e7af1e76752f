"""What goes to the terminal beside results: the log, and libraries kept quiet."""

from __future__ import annotations

import os
import sys

from evokd.progress import say


def said_yes(question: str) -> bool:
    """What someone at a terminal answers; no where there is nobody."""
    say(f"{question} [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def at_terminal() -> bool:
    return sys.stdin.isatty()


def quiet() -> None:
    """Keep libraries from talking over the progress bars."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # unset, they warn of each process
    import logging
    import warnings

    from transformers.utils import logging as transformers_logging

    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    # Where it is installed it is imported by others, and talks to stdout.
    logging.getLogger("DeepSpeed").addFilter(lambda record: record.levelno >= logging.ERROR)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
