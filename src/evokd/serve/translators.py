"""The models of a server: which one translates what, and whole texts by it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from evokd.data.documents import Document
from evokd.data.languages import language, split_direction
from evokd.errors import InputError
from evokd.serve.limits import Limits, Refused
from evokd.serve.metrics import Metrics
from evokd.serve.waiting import Direction, Translates, Worker

PATIENCE = 2.0
"""Seconds that a model has to come to the end of its batch."""


@dataclass(frozen=True)
class Translated:
    """Texts in another language.

    Attributes:
        prompt_tokens: that the model read, its prompts included.
        tokens: that it wrote, each answer's end included.
        cut_off: whether a line hit its cap before it ended by itself.
    """

    texts: list[str]
    prompt_tokens: int
    tokens: int
    cut_off: bool


class Translators:
    """Models at work.

    Args:
        models: by name; each translates the directions that it names.

    Attributes:
        directions: pairs of canonical codes, such as ("en", "de").

    Raises:
        InputError: two models for one direction, or one that names none.
    """

    def __init__(self, models: Mapping[str, Translates], limits: Limits, metrics: Metrics):
        owners: dict[Direction, tuple[str, Direction]] = {}
        for name, model in models.items():
            if not model.directions:
                raise InputError(f"{name} doesn't say what it translates; type -l en-de")
            for direction in model.directions:
                spelled = split_direction(direction)
                pair = canonical(spelled[0]), canonical(spelled[1])
                if pair in owners and owners[pair][0] != name:
                    raise InputError(
                        f"{owners[pair][0]} and {name} both translate {'-'.join(pair)}; "
                        "leave one of them out"
                    )
                owners[pair] = name, spelled
        self.limits = limits
        self.workers = {
            name: Worker(name, model, limits, metrics.batch_seen) for name, model in models.items()
        }
        self._by_direction = {
            pair: (self.workers[name], spelled) for pair, (name, spelled) in owners.items()
        }
        self.directions = list(self._by_direction)
        self._reader = ThreadPoolExecutor(1)  # long documents hold nobody up but each other
        metrics.watch(self.workers.values())

    def of(self, name: str) -> list[Direction]:
        """What one model translates."""
        owners = self._by_direction.items()
        return [pair for pair, (worker, _) in owners if worker.name == name]

    def sources(self, target: str | None = None) -> list[str]:
        """Languages that are translated, into one or into any."""
        found = (pair[0] for pair in self.directions if target in (None, pair[1]))
        return list(dict.fromkeys(found))

    def check(self, source: str, target: str) -> Direction:
        """A direction in canonical codes. Raises Refused: nobody translates it."""
        pair = canonical(source), canonical(target)
        if pair not in self._by_direction:
            known = ", ".join("-".join(each) for each in self.directions)
            raise Refused(400, f"{'-'.join(pair)[:40]} is not supported; accepted: {known}")
        return pair

    async def translate(
        self, texts: Sequence[str], direction: Direction, form: str = "text"
    ) -> Translated:
        """Whole texts, line by line.

        Args:
            direction: one that `check` gave.
            form: "text" or "html".

        Raises:
            Refused: too long, too many, or too many that wait.
        """
        worker, spelled = self._by_direction[direction]
        self._check_lines([line for text in texts for line in text.split("\n")])
        aside = asyncio.get_running_loop().run_in_executor

        def read() -> list[Document]:
            return [worker.translator.document(text, form, *spelled) for text in texts]

        try:
            documents = await aside(self._reader, read)
        except InputError as error:
            raise Refused(400, str(error)) from None
        segments = [segment for document in documents for segment in document.segments]
        answers = await worker.translate([one for one in segments if one.strip()], spelled)
        texts_of = iter(answers)
        made = iter([next(texts_of).text if one.strip() else one for one in segments])

        def write() -> list[str]:
            return [each.written([*islice(made, len(each.segments))]).text for each in documents]

        return Translated(
            await aside(self._reader, write),
            sum(len(answer.job.prompt_ids) for answer in answers),
            sum(len(answer.ids) for answer in answers),
            any(answer.stopped_by == "cap" for answer in answers),
        )

    def _check_lines(self, lines: Sequence[str]) -> None:
        most, longest = self.limits.lines, max(map(len, lines), default=0)
        if len(lines) > most:
            raise Refused(413, f"{len(lines)} lines; at most {most} are taken at once")
        if longest > self.limits.line:
            raise Refused(413, f"a line of {longest} characters; {self.limits.line} are taken")

    @property
    def healthy(self) -> bool:
        return all(worker.alive for worker in self.workers.values())

    def close(self) -> bool:
        """Whether every model came to its end."""
        self._reader.shutdown(wait=False)
        for worker in self.workers.values():
            worker.close()
        return all([worker.ended(PATIENCE) for worker in self.workers.values()])


def canonical(code: str) -> str:
    """A language's code as evokd writes it; one that nobody knows as it is."""
    try:
        return language(code).code
    except InputError:
        return code
