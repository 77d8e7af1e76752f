"""Text files as people bring them: UTF-8 or UTF-16, perhaps compressed, perhaps from Windows."""

from __future__ import annotations

import codecs
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from evokd.errors import InputError

_BLOCK = 1 << 20
"""Bytes that are read, or unpacked, at once."""


class _Zstandard(io.RawIOBase):
    """All frames of a .zst file; zstandard's reader takes a cut-off frame for the file's end."""

    def __init__(self, path: Path, mode: str):
        import zstandard

        self._path, self._file = path, path.open(mode)
        self._new_frame: Any = zstandard.ZstdDecompressor().decompressobj
        self._error: type[Exception] = zstandard.ZstdError
        self._frame: Any = None
        self._packed = self._unpacked = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._unpacked:
            self._packed = self._packed or self._file.read(_BLOCK)
            if not self._packed:
                if self._frame is not None:
                    raise OSError("it ends in the middle of a frame")
                return 0
            self._frame = self._frame or self._new_frame()
            try:
                self._unpacked = self._frame.decompress(self._packed)
            except self._error as error:
                raise OSError(str(error)) from None
            self._packed = self._frame.unused_data
            self._frame = None if self._frame.eof else self._frame
        size = min(len(buffer), len(self._unpacked))
        buffer[:size], self._unpacked = self._unpacked[:size], self._unpacked[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


def _open_zstandard(path: Path, mode: str) -> IO[bytes]:
    return io.BufferedReader(_Zstandard(path, mode), _BLOCK)


_OPENERS: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open, ".zst": _open_zstandard}
COMPRESSIONS = tuple(_OPENERS)
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_EMPTY = (b"", codecs.BOM_UTF8, *_UTF16)


def path_in(root: Path, name: str) -> Path:
    """Where a path leads that a user wrote down: from a folder, or from home if it begins with ~.

    Raises:
        InputError: there is no such home, or nothing can be called that.
    """
    try:
        path = root / Path(name).expanduser()
        path.exists()
    except (RuntimeError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{name[:100]!r} can't be a path: {why}") from None
    if "\0" in name:
        raise InputError(f"{name[:100]!r} can't be a path: it has a null character")
    return path


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading, unpacked if its name ends in .gz, .xz or .zst.

    Raises:
        InputError: missing, a folder, not readable, or packed data that is broken or cut off.
    """
    try:
        file = _OPENERS.get(path.suffix, open)(path, "rb")
    except FileNotFoundError:
        raise InputError(f"{path} not found{_neighbours(path)}") from None
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}") from None
    try:
        with file:
            yield file
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise InputError(f"{path} can't be unpacked: {error}") from None


def read_text(path: Path, may_be_empty: bool = False) -> str:
    """The text of a file without its byte order mark.

    Raises:
        InputError: missing, empty, not UTF-8 (names line and byte) or broken compression.
    """
    with open_bytes(path) as file:
        return decode(file.read(), str(path), may_be_empty)


def decode(
    data: bytes, name: str, may_be_empty: bool = False, line: int = 1, before: int = 0
) -> str:
    """Bytes of something called `name`, UTF-8 or, with a byte order mark, UTF-16, as text; see
    `read_text`.

    Args:
        line: the number of their first line, of a part of a file; `before`, the bytes before it.
    """
    if data in _EMPTY and not may_be_empty:
        raise InputError(f"{name} is empty; sentences are needed")
    if data[:2] in _UTF16 and not before:
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name} begins as UTF-16 does and goes on as something else (byte "
                f"{error.start + 1} of the file); convert it to UTF-8"
            ) from None
    if data.count(0) > len(data) // 4:
        raise InputError(
            f"{name} is full of null characters: most likely UTF-16 without its mark; convert it, "
            "e.g. iconv -f utf-16le -t utf-8"
        )
    try:
        text = data.decode("utf-8")
        return text if before else text.removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise InputError(
            f"{name}:{line} is no UTF-8: byte {data[error.start]:#04x} at byte {column} of "
            f"the line (byte {before + error.start + 1} of the file); convert it, "
            f"e.g. iconv -f latin1 -t utf-8"
        ) from None


def read_lines(path: Path, may_be_empty: bool = False) -> list[str]:
    """The lines of a UTF-8 file, split on `\\n` only, without a final `\\r`.

    Other Unicode line ends stay inside their line: what looks like one line to a shell is one line
    here. Empty lines are kept. Raises InputError as `read_text` does.
    """
    return list(stream_lines(path, may_be_empty))


def stream_lines(path: Path, may_be_empty: bool = False) -> Iterator[str]:
    """The same, one after the other: what stands in memory is a block of a file of UTF-8."""
    with open_bytes(path) as file:
        for block, line, before in _blocks(file):
            yield from split_lines(decode(block, str(path), may_be_empty, line, before))


def count_lines(path: Path) -> int:
    """How many lines `stream_lines` yields, sooner than it does.

    Raises:
        InputError: missing, empty, or broken compression.
    """
    with open_bytes(path) as file:
        count = 0
        for block, line, _ in _blocks(file):
            if line == 1 and (block in _EMPTY or block[:2] in _UTF16):
                return len(split_lines(decode(block, str(path))))
            count += block.count(b"\n") + (not block.endswith(b"\n"))
    return count


def _blocks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Whole lines of a file, with the number of the first and how many bytes come before it; UTF-16
    in one piece. At least one block, an empty one of an empty file."""
    line, before, rest = 1, 0, b""
    while block := file.read(_BLOCK):
        if not before and not rest and block[:2] in _UTF16:
            yield block + file.read(), line, before
            return
        block = rest + block
        end = block.rfind(b"\n") + 1
        whole, rest = block[:end], block[end:]
        if whole:
            yield whole, line, before
            line += whole.count(b"\n")
            before += len(whole)
    if rest or not before:
        yield rest, line, before


def split_lines(text: str) -> list[str]:
    """Lines of a text; see `read_lines`."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def one_line(text: str) -> str:
    """A segment of a record format (JSON, TMX, …) as one line without tabs, which line files need;
    half a surrogate pair, which no UTF-8 file can hold, becomes U+FFFD."""
    if text.isprintable():
        return text
    text = re.sub(r"[\r\n\t]+", " ", text)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _neighbours(path: Path) -> str:
    """What lies beside a file that isn't there."""
    if not path.parent.is_dir():
        return f"; the folder {path.parent} doesn't exist"
    stem = path.name.split(".")[0]
    names = sorted(p.name for p in path.parent.iterdir() if p.name.startswith(stem))
    return f"; found beside it: {', '.join(names[:10])}" if names else ""
