"""What `evokd translate` reads and writes."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from evokd.data.documents import ENDINGS, Document, Lost, read_document
from evokd.data.textfiles import COMPRESSIONS, decode, read_text
from evokd.errors import InputError

NAMED = 5
"""Things that got lost that are named one by one."""


def form_of(args: argparse.Namespace) -> str:
    """The format of the input.

    Raises:
        InputError: a flag for another one.
    """
    endings = [one for one in args.input.suffixes if one not in COMPRESSIONS] if args.input else []
    form: str = args.format or ENDINGS.get(endings[-1].lower() if endings else "", "text")
    for flag, of in {"column": "tsv", "key": "jsonl"}.items():
        if getattr(args, flag) is not None and form != of:
            raise InputError(f"--{flag} together with format {form}; it is for --format {of}")
    return form


def check_output(args: argparse.Namespace) -> None:
    """Raises InputError: the output is a folder, or the input itself."""
    if args.output is None or not args.output.exists():
        return
    if args.output.is_dir():
        raise InputError(f"{args.output} is a folder; name a file with -o")
    if args.input and args.input.exists() and args.output.samefile(args.input):
        raise InputError(f"{args.output} is the input, which would be lost; name another with -o")


def text_of(args: argparse.Namespace) -> str:
    """All of the input."""
    if args.input:
        return read_text(args.input, may_be_empty=True)
    return decode(sys.stdin.buffer.read(), "standard input", may_be_empty=True)


def found_in(
    text: str, form: str, args: argparse.Namespace, translator: Any, lines: int | None
) -> list[Document]:
    """The input as documents: as one or, of plain text, so many lines each, so that the first are
    written before the last are translated."""
    from evokd.data.languages import split_direction
    from evokd.translate.lengths import longest_source, size_by

    source, target = split_direction(args.direction)
    longest = args.longest or longest_source(translator, source, target)
    given = (form, source, size_by(translator), longest)
    options = {"column": args.column, "key": args.key, "target": target}
    options = {name: value for name, value in options.items() if value is not None}
    options["name"] = str(args.input or "standard input")
    if form != "text":
        return [read_document(text, *given, **options)]
    every = [f"{line}\n" for line in text.removesuffix("\n").split("\n")] if text else []
    step = lines or max(1, len(every))
    return [
        read_document("".join(every[start : start + step]), *given, **options, line=start + 1)
        for start in range(0, len(every), step)
    ]


class Output:
    """Where translations go: into a file by way of those of its segments, or to stdout.

    Attributes:
        done: translations that an earlier attempt left.
    """

    def __init__(self, args: argparse.Namespace, segments: Sequence[str], dtype: str) -> None:
        from evokd.rundir.files import fingerprint
        from evokd.translate.partial import PartialOutput

        self.done: list[str] = []
        self._file: PartialOutput | None = None
        self._texts: list[str] = []
        if args.output is None:
            sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
            return
        files = sorted(Path(args.model).glob("*"))
        stamps = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
        named = ("model", "direction", "beam", "prompt", "draft")
        asked = {key: getattr(args, key) for key in named}
        if args.engine != "evokd":
            asked |= {"engine": args.engine, "int8": args.int8}
        given = {"dtype": dtype, "lines": fingerprint(list(segments)), "files": stamps}
        self._file = PartialOutput(args.output, asked | given)
        self.done = self._file.done

    def add(self, lines: Iterable[str]) -> None:
        """Keep the translations of some more segments."""
        if self._file is not None:
            self._file.add(lines)

    def write(self, text: str) -> None:
        """A document that is done."""
        if self._file is None:
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            self._texts.append(text)

    def close(self) -> None:
        """All is written."""
        if self._file is not None:
            self._file.finish("".join(self._texts))


def said(documents: Sequence[Document], lost: Sequence[Lost]) -> list[str]:
    """What got lost of what, and the first few by name; nothing where there was nothing to lose."""
    has: Counter[str] = Counter()
    for document in documents:
        has.update(document.has)
    gone = Counter(one.kind for one in lost)
    counts = [
        f"{gone[kind]} of {has[kind]} {kind}s"
        for kind in ("tag", "placeholder", "number")
        if has[kind]
    ]
    if gone["text"]:
        counts.append(f"{gone['text']} whole texts")
    if not counts:
        return []
    named = [f"  line {one.line}: {one.kind} {one.what}" for one in lost[:NAMED]]
    more = [f"  and {len(lost) - NAMED} more"] if len(lost) > NAMED else []
    back = (
        "; tags and placeholders are back in about their places"
        if gone["tag"] + gone["placeholder"]
        else ""
    )
    return [f"lost: {', '.join(counts)}{back}", *named, *more]
