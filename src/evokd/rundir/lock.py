"""One run at a time in a run folder."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from evokd.errors import InputError


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second run out of a run folder; the lock falls with the process that holds it. What
    many processes make together, each claims for itself (`claims`)."""
    with usable(folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"another run is at work in {folder}; wait for it, or choose another folder with -o"
            ) from None
        yield


def usable(folder: Path) -> TextIO:
    """The file of a run folder's lock, open to be locked.

    Raises:
        InputError: nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / ".lock").open("w")
    except OSError as error:
        raise InputError(
            f"{folder} can't be used as a run folder ({error.strerror}); choose another with -o"
        ) from None


def is_locked(folder: Path) -> bool:
    """Whether a run is at work in a run folder."""
    try:
        with (folder / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
