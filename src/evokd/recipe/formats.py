"""The corpus formats that exist, one row each: recipes, `evokd.data.sources` and docs read it.

A format is added by a row here and by the reader that the row names. Rows may come from outside,
in a module that a recipe names under `plugins`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Literal

from evokd.recipe.code import load_function


@dataclass(frozen=True)
class FormatSpec:
    """One corpus format, as far as it is known before anything is read.

    summary: what it is, in a table. reader: yields `data.source_request.Unit`s from
    (SourceRequest, notes for the user); a function, or "module:function", which is imported when a
    source is read. path_is: what the path of a source names; a prefix has a file for each language,
    an address starts with the format's name and a colon. suffixes: of file names. start: regular
    expression of the first characters of a file that no suffix tells; earlier rows are tried first.
    """

    summary: str
    reader: str | Callable[..., Any]
    path_is: Literal["file", "prefix", "address"] = "file"
    suffixes: tuple[str, ...] = ()
    start: str | None = None

    def load_reader(self) -> Callable[..., Any]:
        """The function that reads it."""
        return self.reader if callable(self.reader) else resolve_name(self.reader)


def add_format(address: str) -> None:
    """A row for the reader at `package.module:name`, of files; it may carry one, as its `spec`.

    Raises:
        ValueError: there is no such function.
    """
    reader = load_function(address)
    FORMATS[address] = getattr(reader, "spec", None) or FormatSpec(address, reader)


AUTO = "auto"
"""In the place of a format: known by address, by suffix or by the first characters."""
FORMATS = {
    "moses": FormatSpec(
        "aligned text files, one for each language", "evokd.data.readers.files:read_moses", "prefix"
    ),
    "json": FormatSpec(
        "an array of objects, or one object a line",
        "evokd.data.readers.files:read_json",
        suffixes=(".json", ".jsonl", ".ndjson"),
        start=r"[\[{]",
    ),
    "tmx": FormatSpec(
        "translation memory",
        "evokd.data.readers.tmx:read_tmx",
        suffixes=(".tmx",),
        start=r"(?s)(?=<).*<tmx",
    ),
    "tsv": FormatSpec(
        "tab-separated text",
        "evokd.data.readers.files:read_tsv",
        suffixes=(".tsv",),
        start=r"[^\n]*\t",
    ),
    "po": FormatSpec("gettext catalogue", "evokd.data.readers.files:read_po", suffixes=(".po",)),
    "hub": FormatSpec(
        "data set of the Hugging Face hub", "evokd.data.readers.remote:read_hub", "address"
    ),
    "sacrebleu": FormatSpec(
        "test set by sacreBLEU's name", "evokd.data.readers.remote:read_sacrebleu", "address"
    ),
    "phrasebook": FormatSpec(
        "the embedded corpus", "evokd.data.phrasebook:read_phrasebook", "address"
    ),
}
BUILT_IN = frozenset(FORMATS)
