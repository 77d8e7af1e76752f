"""Segments of text, a line each: how they are read, and that all files have as many of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evokd.data.textfiles import read_text
from evokd.errors import InputError

References = Sequence[str] | Sequence[Sequence[str]]
"""One reference document, or several; a document is one line per segment."""


def read_segments(path: str | Path) -> list[str]:
    """The lines of a UTF-8 file, as translation tools count them.

    Lines end at "\\n" only: other separators that Python's `splitlines` knows occur inside real
    sentences. A newline at the end of the file opens no further line, a byte order mark is
    dropped, and "\\r" before the newline is dropped if every line has it. A name that ends in .gz,
    .xz or .zst is unpacked.

    Raises:
        InputError: the file is missing, empty or not UTF-8 (naming the line).
    """
    text = read_text(Path(path))
    if not text:
        raise InputError(f"{path} is empty; one segment per line is accepted")
    lines = text.removesuffix("\n").split("\n")
    if all(line.endswith("\r") for line in lines):
        lines = [line[:-1] for line in lines]
    return lines


def reference_documents(references: References) -> list[list[str]]:
    """References as a list of documents, whether one or several were given."""
    lines = [item for item in references if isinstance(item, str)]
    documents = [list(item) for item in references if not isinstance(item, str)]
    assert not (lines and documents), "references mix lines and documents"
    return [lines] if lines else documents


def check_counts(
    hypotheses: Sequence[str],
    documents: Sequence[Sequence[str]],
    name: str = "the system's output",
    reference_names: Sequence[str] = (),
) -> None:
    """Outputs and references must hold the same number of segments, at least one.

    Raises:
        InputError: naming both sides and both counts.
    """
    if not hypotheses:
        raise InputError(f"{name} holds no lines; one translation per line is accepted")
    if not documents:
        raise InputError("no reference given; at least one is needed")
    for number, document in enumerate(documents):
        if len(document) != len(hypotheses):
            reference = reference_names[number] if reference_names else f"reference {number + 1}"
            raise InputError(
                f"{name} has {len(hypotheses)} lines and {reference} has {len(document)}; "
                "line n of both must belong to the same segment"
            )
