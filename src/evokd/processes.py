"""Several processes at one study, as torchrun starts them.

All of them train. What only one can do the first does, while the others wait, and lend a hand where
it has work that can be shared out.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from evokd.errors import InputError

Made = TypeVar("Made")
_alone = False  # at what the others wait for, or at its share of that
LONGEST_WAIT = timedelta(days=60)
"""For what one does alone; a process that dies takes the others with it at once."""


class AlreadyTold(InputError):
    """Raised in the first process too, which tells the user."""


def count() -> int:
    return int(os.environ.get("WORLD_SIZE", 1))


def number() -> int:
    """Of this process, from 0."""
    return int(os.environ.get("RANK", 0))


def is_first() -> bool:
    return number() == 0


def by_zero3() -> bool:
    """Whether accelerate was told to spread trainings by DeepSpeed's ZeRO-3 (`accelerate launch`).

    Raises:
        InputError: by another stage of it.
    """
    if count() == 1 or os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() not in ("true", "1"):
        return False
    stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    if stage != "3":
        raise InputError(
            f"accelerate asks for DeepSpeed ZeRO-{stage}; of DeepSpeed, stage 3 is accepted: "
            "accelerate launch --use_deepspeed --zero_stage 3"
        )
    return True


def join(device: str) -> None:
    """Meet the others, if there are any.

    Args:
        device: the recipe's.

    Raises:
        InputError: there are more processes on this machine than GPUs.
    """
    if count() == 1:
        return
    import torch

    if not torch.distributed.is_initialized():
        on_gpus = have_gpus(int(os.environ.get("LOCAL_WORLD_SIZE", 1)), device)
        if on_gpus:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        backend = "cpu:gloo,cuda:nccl" if on_gpus else "gloo"
        torch.distributed.init_process_group(backend, timeout=LONGEST_WAIT)


def have_gpus(together: int, device: str) -> bool:
    """Whether the processes of this machine have a GPU each.

    Raises:
        InputError: there are some, and not enough.
    """
    import torch

    there = 0 if device == "cpu" else torch.cuda.device_count()
    if 0 < there < together:
        raise InputError(
            f"{together} processes on this machine, and it has {there} GPU{'s' * (there > 1)}; "
            f"each takes one, so --processes {there} is accepted, or device=cpu"
        )
    return there > 0


def leave(status: int) -> int:
    """End this process, if it is one of several; an exit status otherwise, as it is.

    torch's threads that talk to the others may crash a process that ends by itself.
    """
    if count() > 1:
        if status and not is_first():
            time.sleep(1)  # torchrun then ends the first, which may have something to say
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def by_first(work: Callable[[], Made], hands: Any = None) -> Made:
    """What `work` gives in the first process, in all of them; called by all.

    Args:
        hands: handed to functions that the first asks the others to help with (`shared`), by each
            its own.

    Raises:
        InputError: in all, where it is raised in the first.
    """
    global _alone
    if count() == 1 or _alone:
        return work()
    if is_first():
        _alone = True
        try:
            made = work()
        except Exception as error:  # who is stopped leaves, and torchrun ends the others
            _tell("refused" if isinstance(error, InputError) else "failed", str(error))
            raise
        finally:
            _alone = False
        _tell("made", made)
        return made
    while True:
        what, told = _tell()
        if what == "made":
            return told
        if what == "help":
            function, pieces, more = told
            _alone = True
            _gather(function, hands, pieces[number()], more)
            _alone = False
            continue
        if what == "refused":
            raise AlreadyTold(told)
        leave(1)


def shared(
    function: Callable[..., Made], hands: Any, items: Sequence[Any], *more: Any
) -> list[Made]:
    """`function(hands, part of the items, *more)` of each process; asked by the first inside
    `by_first`, and `in_order` puts what is made of each item together.

    Args:
        function: one that can be pickled; the others call it with hands of their own.

    Raises:
        Exception: what it raised in one of them.
    """
    if count() == 1:
        return [function(hands, items, *more)]
    pieces = [items[place :: count()] for place in range(count())]
    _tell("help", (function, pieces, more))
    parts = _gather(function, hands, pieces[0], more)
    for part in parts:
        if isinstance(part, Exception):
            raise part
    return parts


def in_order(parts: Sequence[Sequence[Made]]) -> list[Made]:
    """What `shared` made of each item, in the order of the items."""
    made: list[Any] = [None] * sum(map(len, parts))
    for place, part in enumerate(parts):
        made[place :: len(parts)] = part
    return made


def all_done() -> None:
    """Wait for the others."""
    if count() > 1:
        import torch

        torch.distributed.barrier()


def _tell(*news: Any) -> Any:
    """From the first to the others, who get it."""
    import torch

    parcel = [news]
    torch.distributed.broadcast_object_list(parcel, src=0, device=torch.device("cpu"))
    return parcel[0]


def _gather(function: Callable[..., Any], hands: Any, items: Any, more: Any) -> list[Any]:
    """What each process makes of its items, in the first; an exception where it failed."""
    import torch

    try:
        mine: Any = function(hands, items, *more)
    except Exception as error:
        mine = error
    parts: list[Any] = [None] * count()
    torch.distributed.gather_object(mine, parts if is_first() else None)
    return parts
