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


def _open_zstandard(path: Path, mode: str) -> IO[bytes]:
    """All frames of a .zst file; zstandard's reader takes a cut-off frame for the file's end."""
    import zstandard

    packed, unpacked = path.read_bytes(), []
    while packed:
        frame = zstandard.ZstdDecompressor().decompressobj()
        try:
            unpacked.append(frame.decompress(packed))
        except zstandard.ZstdError as error:
            raise InputError(f"{path} can't be unpacked: {error}") from None
        if not frame.eof:
            raise InputError(f"{path} can't be unpacked: it ends in the middle of a frame")
        packed = frame.unused_data
    return io.BytesIO(b"".join(unpacked))


_OPENERS: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open, ".zst": _open_zstandard}
COMPRESSIONS = tuple(_OPENERS)
_EMPTY = (b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


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


def decode(data: bytes, name: str, may_be_empty: bool = False) -> str:
    """Bytes of something called `name`, UTF-8 or, with a byte order mark, UTF-16, as text; see
    `read_text`."""
    if data in _EMPTY and not may_be_empty:
        raise InputError(f"{name} is empty; sentences are needed")
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
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
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise InputError(
            f"{name}:{line} is no UTF-8: byte {data[error.start]:#04x} at byte {column} of "
            f"the line (byte {error.start + 1} of the file); convert it, "
            f"e.g. iconv -f latin1 -t utf-8"
        ) from None


def read_lines(path: Path, may_be_empty: bool = False) -> list[str]:
    """The lines of a UTF-8 file, split on `\\n` only, without a final `\\r`.

    Other Unicode line ends stay inside their line: what looks like one line to a shell is one line
    here. Empty lines are kept. Raises InputError as `read_text` does.
    """
    return split_lines(read_text(path, may_be_empty))


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
