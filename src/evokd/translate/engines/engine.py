"""One protocol for engines, and how they keep our rules for where an answer ends.

An engine is asked with token ids and answers with token ids. It may stop at any of a list of
tokens; what else ends an answer or doesn't is decided here, as `stopping.py` has it: a newline ends
an answer only behind some text, and a cap is each request's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, Protocol

from evokd.errors import InputError
from evokd.models.batching import Budget, Groups, Request
from evokd.models.loading import Translator
from evokd.recipe.engines import ENGINES, OWN, check_engine, check_installed
from evokd.recipe.judging import DecodingSettings
from evokd.translate.decoding import Generate
from evokd.translate.generation import search
from evokd.translate.stopping import Ends

Answers = list[list[list[int]]]
"""Token ids of the answers to each request, the best first."""


class Search(Protocol):
    """What `generation.search` is."""

    def __call__(
        self,
        model: Any,
        requests: Sequence[Request],
        ends: Ends,
        settings: DecodingSettings,
        best: int = 1,
    ) -> Groups: ...


class Engine(Protocol):
    """What answers requests in the place of evokd's own decoder."""

    name: str
    version: str

    def budget(self, settings: DecodingSettings) -> Budget:
        """What it wants to be asked at once."""

    def ask(
        self,
        requests: Sequence[Request],
        stops: Sequence[int],
        settings: DecodingSettings,
        best: int,
    ) -> Answers:
        """Up to `best` answers to each request, each to the first of `stops`, which is its last
        token, or as long as the request's cap. Answers may be longer than that."""

    def close(self) -> None:
        """Give back what it holds: processes, memory, files."""


@contextmanager
def started(translator: Translator, settings: DecodingSettings) -> Iterator[Engine | None]:
    """The engine that the settings name, with a translator's weights; None for evokd's own.

    Raises:
        InputError: it isn't here, can't do what is asked of it, or can't take this model.
    """
    if settings.engine == OWN:
        yield None
        return
    check_installed(settings.engine)
    try:
        check_engine(settings.engine, settings.precision, {"beam": settings.beam})
    except ValueError as problem:
        raise InputError(str(problem)) from None
    module = ENGINES[settings.engine].module
    assert module is not None
    engine: Engine = import_module(module).start(translator, settings)
    try:
        yield engine
    finally:
        engine.close()


def search_by(engine: Engine | None) -> Search:
    """Greedy or beam search by an engine; None is evokd's own."""
    return search if engine is None else partial(_search, engine)


def generate_by(engine: Engine | None, settings: DecodingSettings) -> Generate | None:
    """The best answer to each request by an engine, as `decoding.translate` takes it."""
    return None if engine is None else partial(search_by(engine), settings=settings, best=1)


def _search(
    engine: Engine,
    model: Any,
    requests: Sequence[Request],
    ends: Ends,
    settings: DecodingSettings,
    best: int = 1,
) -> Groups:
    budget = engine.budget(settings)
    for places in budget.batches([request.size for request in requests]):
        answers = _answers(engine, [requests[place] for place in places], ends, settings, best)
        yield [(place, ids) for place, found in zip(places, answers, strict=True) for ids in found]


def _answers(
    engine: Engine,
    requests: Sequence[Request],
    ends: Ends,
    settings: DecodingSettings,
    best: int,
) -> Answers:
    """Answers that end where ours do. What isn't at its end yet is asked for again."""
    answers = engine.ask(requests, [*ends.ids, *sorted(ends.newline_ids)], settings, best)
    again: dict[int, list[tuple[int, Request]]] = {}  # those of a cap together, 0: that go on
    for place, request in enumerate(requests):
        first = answers[place][0]
        if settings.beam > 1 and len(first) > request.cap:
            # Longer than it may be, since others of the batch may.
            again.setdefault(request.cap, []).append((place, request))
        elif len(first) < request.cap and _began_with_newline(first, ends):
            rest = Request([*request.prompt_ids, *first], request.cap - len(first))
            again.setdefault(0, []).append((place, rest))
    for waiting in again.values():
        found = _answers(engine, [request for _, request in waiting], ends, settings, best)
        for (place, request), anew in zip(waiting, found, strict=True):
            begun = list(request.prompt_ids[len(requests[place].prompt_ids) :])
            answers[place] = [begun + ids for ids in anew]
    return answers


def _began_with_newline(ids: Sequence[int], ends: Ends) -> bool:
    """Whether an answer stopped at a newline with no text before it, which is no end."""
    if not ids or ids[-1] not in ends.newline_ids:
        return False
    return ends.end_of(ids, len(ids))[0] == "cap"
