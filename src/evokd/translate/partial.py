"""A file of translations that is written as they are made, and gone on with after a kill.

    OUT.part        the translations so far, a line each
    OUT.part.json   what they are translations of, and by what

OUT itself, which is made of them, is there when all are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from evokd.errors import InputError
from evokd.rundir.files import fingerprint, read_made_of, write_sealed, write_text


class PartialOutput:
    """An output file on its way."""

    def __init__(self, path: Path, made_of: Mapping[str, Any]) -> None:
        """Find what an earlier attempt left, if it was at the same.

        Raises:
            InputError: nothing can be written there.
        """
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self.note = path.with_name(f"{path.name}.part.json")
        key = fingerprint(made_of)
        try:
            self.done: list[str] = []
            if self.part.is_file() and read_made_of(self.note, key):
                self.done = self._whole_lines()
            else:
                self.part.write_bytes(b"")
                write_sealed(self.note, {"fingerprint": key, "made_of": dict(made_of)})
        except OSError as error:
            raise InputError(
                f"{path} can't be written ({error.strerror or error}); choose another with -o"
            ) from None

    def add(self, lines: Iterable[str]) -> None:
        """Write lines, and be sure that they are on the disk."""
        with self.part.open("ab") as file:
            file.write("".join(f"{line}\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())

    def finish(self, text: str) -> None:
        """Write the file itself."""
        write_text(self.path, text)
        self.part.unlink()
        self.note.unlink()

    def _whole_lines(self) -> list[str]:
        """Those that are there; a last one without its end is cut off."""
        data = self.part.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            with self.part.open("r+b") as file:
                file.truncate(len(whole))
        return whole.decode().split("\n")[:-1]
