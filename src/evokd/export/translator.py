"""A translator in Python: `evokd.Translator.load(FOLDER).translate(lines, "en", "de")`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from evokd.data.documents import Document, Written, read_document
from evokd.data.prompts import Prompt, load_prompt
from evokd.errors import InputError
from evokd.export.exported import load_export
from evokd.models import loading
from evokd.models.saving import trained_directions
from evokd.recipe.exports import is_export
from evokd.recipe.judging import DecodingSettings
from evokd.translate.decoding import Answer, Translations, answer_lines, translate
from evokd.translate.engines.engine import generate_by
from evokd.translate.lengths import longest_source, size_by


class Translator:
    """A folder that evokd saved or exported, or a hub id, ready to translate.

    Close it, or use it with `with`, where an engine holds memory or processes.

    Attributes:
        directions: what it was trained for, such as en-de; empty where that isn't known.
    """

    def __init__(
        self, own: loading.Translator, engine: Any, directions: Sequence[str], held: ExitStack
    ) -> None:
        self.directions = list(directions)
        self._own, self._engine, self._held = own, engine, held
        self._longest: dict[tuple[str, str], int] = {}

    @classmethod
    def load(
        cls,
        where: str | Path,
        *,
        prompt: str | Prompt | None = None,
        device: str = "auto",
        dtype: str = "auto",
    ) -> Translator:
        """Load one.

        Args:
            prompt: how a model that evokd didn't save wants to be asked: a name, a file or a
                Prompt.
            device: auto, cpu, cuda, cuda:1, mps.
            dtype: auto, float32, bfloat16, float16; an export's files say that themselves.

        Raises:
            InputError: it isn't there or can't be read, or nothing says how it is asked.
        """
        place, _ = loading.pick_device(device)
        held = ExitStack()
        if is_export(where):
            exported = load_export(Path(where), place)
            own, engine = exported.translator, held.enter_context(exported.at_work())
        else:
            asked = load_prompt(prompt) if isinstance(prompt, str) else prompt
            number_format, _ = loading.pick_dtype(dtype, place)
            own, engine = loading.load_translator(where, place, number_format, asked), None
        return cls(own, engine, trained_directions(where), held)

    def translate(
        self, lines: Sequence[str], source: str, target: str, *, beam: int = 1, batch_size: int = 64
    ) -> list[str]:
        """One translation for each line, in their order; blank lines stay blank. A line that is too
        long for the model is translated sentence by sentence, one with tags or placeholders with
        them in their places.

        Args:
            source: the lines' language, such as en.
            beam: hypotheses side by side; 1 is greedy.

        Raises:
            InputError: an unknown language, a prompt that doesn't fit, something else than lines.
        """
        if isinstance(lines, str) or not all(isinstance(line, str) for line in lines):
            raise InputError("translate takes a list of lines, each a str")
        text = "".join(line.replace("\n", " ") + "\n" for line in lines)
        written = self.translate_document(
            text, "text", source, target, beam=beam, batch_size=batch_size
        )
        return written.text.split("\n")[:-1]

    def translate_document(
        self,
        text: str,
        form: str,
        source: str,
        target: str,
        *,
        longest: int | None = None,
        beam: int = 1,
        batch_size: int = 64,
        **options: Any,
    ) -> Written:
        """A document as people have it, translated, and what got lost on the way.

        Args:
            text: all of it.
            form: text, tsv, jsonl, html, xliff or po (docs/translate.md).
            longest: tokens of a line from which on it is translated sentence by sentence; default:
                half of what models are trained on at once.
            options: `column` of tsv, `key` of jsonl.

        Raises:
            InputError: it isn't of that format; see `translate`.
        """
        document = self.document(text, form, source, target, longest=longest, **options)
        settings = {"beam": beam, "batch_size": batch_size}
        made = self.translations(document.segments, source, target, **settings)
        return document.written(made.lines)

    def translations(
        self, lines: Sequence[str], source: str, target: str, *, beam: int = 1, batch_size: int = 64
    ) -> Translations:
        """Of lines as they are, with which were cut off, tokens, seconds and more."""
        settings = DecodingSettings(beam=beam, batch_size=batch_size)
        generate = generate_by(self._engine, settings)
        return translate(self._own, list(lines), source, target, settings, None, generate)

    def document(
        self,
        text: str,
        form: str,
        source: str,
        target: str,
        *,
        longest: int | None = None,
        **options: Any,
    ) -> Document:
        """The first half of `translate_document`: what is to be translated; `written` of it is the
        second. It may be asked in one thread while another one translates."""
        if longest is None:
            if (source, target) not in self._longest:
                self._longest[source, target] = longest_source(self._reading, source, target)
            longest = self._longest[source, target]
        size = size_by(self._reading)
        return read_document(text, form, source, size, longest, target=target, **options)

    @cached_property
    def _reading(self) -> loading.Translator:
        """A tokenizer of its own: one can't be asked by two threads."""
        return replace(self._own, tokenizer=deepcopy(self._own.tokenizer))

    def answers(
        self, lines: Sequence[str], source: str, target: str, *, beam: int = 1, batch_size: int = 64
    ) -> Iterator[Answer]:
        """The same, line by line as they are done, in no order: `answer.job.line` is the place of
        the line; blank ones have none."""
        settings = DecodingSettings(beam=beam, batch_size=batch_size)
        generate = generate_by(self._engine, settings)
        return answer_lines(self._own, lines, source, target, settings, None, generate)

    def close(self) -> None:
        """Give back what an engine holds."""
        self._held.close()

    def __enter__(self) -> Translator:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
