"""The formats that are read, and what a reader of one hands over.

A reader takes the text of a document and `Options`; it gives the document's units, and what writes
the document with other contents in their place, None where it stays as it is. A format is added by
a row of `FORMS` and a function `read_NAME` in the module named there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evokd.data.documents.pieces import Content

FORMS = {
    **{"text": "lines", "tsv": "lines", "jsonl": "lines"},
    **{"html": "html_pages", "xliff": "xliff", "po": "catalogues"},
}
"""A format's name, and the module here that reads it."""
ENDINGS = {
    **{".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"},
    **{".html": "html", ".htm": "html", ".xhtml": "html"},
    **{".xlf": "xliff", ".xliff": "xliff", ".po": "po", ".pot": "po"},
}
"""Of a file's name, and the format that it says; every other one says text."""


@dataclass(frozen=True)
class Options:
    """What formats are told of a document.

    Attributes:
        target: the language that it is translated into.
        column: of tab-separated text, from 1.
        key: of the text in JSON objects.
        name: what errors call it.
        line: the number of its first line, of a part of a file.
    """

    target: str = ""
    column: int = 1
    key: str = "text"
    name: str = "the document"
    line: int = 1


@dataclass(frozen=True)
class Unit:
    """A text of a document, for itself.

    Attributes:
        line: where it stands in the file, from 1.
        is_line: whether it is given to a translator as it is where it fits, even without a letter
            in it; else sentence by sentence, if it has words.
        flowing: whether a line end in it is but a space; else each line is translated for itself.
    """

    content: Content
    line: int
    is_line: bool = False
    flowing: bool = False


Write = Callable[[Sequence["Content | None"]], str]
Reading = tuple[list[Unit], Write]
