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


def warn_of_direction(model: object, direction: str) -> None:
    """Say so where a model was never trained on it."""
    from evokd.data.languages import split_direction
    from evokd.models.saving import trained_directions

    known = trained_directions(str(model))
    if known and split_direction(direction) not in [split_direction(one) for one in known]:
        say(f"warning: {model} was never trained on {direction}; it was on {', '.join(known)}")


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
