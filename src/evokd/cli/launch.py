"""`--processes N`: the same command in N processes, by torchrun."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence

from evokd import processes
from evokd.errors import InputError


def launch(count: int, argv: Sequence[str], device: str) -> int:
    """Run `evokd ARGV` in several processes that know of each other; the exit status of the first
    that fails, 0 if none does.

    Args:
        device: the recipe's.

    Raises:
        InputError: fewer than one, or more than there are GPUs.
        KeyboardInterrupt: it was stopped, and has stopped the others.
    """
    if count < 1:
        raise InputError(f"--processes {count}: 1 or more are accepted, one for each GPU")
    processes.have_gpus(count, device)
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # the first says what failed
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id="evokd",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "evokd", *argv)
    except SignalException as error:  # the others are ended
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        signal.signal(error.sigval, signal.SIG_DFL)
        os.kill(os.getpid(), error.sigval)
    except ChildFailedError as error:
        killed = {
            place: -one.exitcode
            for place, one in error.failures.items()
            if one.exitcode < 0 and one.exitcode != -signal.SIGTERM  # which the others get
        }
        for place, number in killed.items():
            print(
                f"evokd: process {place} was killed by signal {number}; "
                "the same command goes on from here",
                file=sys.stderr,
            )
        return 1 if killed else abs(error.get_first_failure()[1].exitcode)
    return 0


def is_to_launch(count: int | None) -> bool:
    """Whether this is the process that starts the others.

    Raises:
        InputError: torchrun has started another number of them.
    """
    if count is None or processes.count() == 1:
        return count is not None and count != 1
    if count != processes.count():
        raise InputError(
            f"--processes {count}, and torchrun has started {processes.count()}; leave one out"
        )
    return False
