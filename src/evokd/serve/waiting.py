"""Lines that wait for a model, and the thread that has it translate them.

What waits is translated together, whoever sent it: one line of each request in turn, so that who
sends one line waits for one batch, not for the ten thousand lines of another. A call of the model
is for one direction, that of the request whose turn it is. Nothing waits for company: while a batch
is translated, the next one gathers by itself.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from evokd.data.documents import Document
from evokd.serve.limits import Limits, Refused
from evokd.translate.decoding import Answer

log = logging.getLogger("evokd.serve")
Direction = tuple[str, str]


class Translates(Protocol):
    """What `evokd.Translator` is to a server."""

    directions: list[str]

    def document(self, text: str, form: str, source: str, target: str) -> Document: ...

    def answers(
        self, lines: Sequence[str], source: str, target: str, *, beam: int, batch_size: int
    ) -> Iterator[Answer]: ...


class Order:
    """Lines of one request, none of them blank.

    Attributes:
        answers: of each line, once it is there.
        given: how many lines the model was given, of `left` that aren't answered.
        done: the answers, when all are there; it belongs to the event loop.
    """

    def __init__(self, lines: Sequence[str], direction: Direction):
        self.lines, self.direction = lines, direction
        self.answers: list[Answer | None] = [None] * len(lines)
        self.given, self.left = 0, len(lines)
        self.dropped = False
        self.done: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()

    def answer(self, place: int, answer: Answer) -> None:
        """One line is translated; called by the thread that has the model."""
        self.answers[place] = answer
        self.left -= 1
        if not self.left:
            self._tell(lambda: self.done.set_result(self.answers))  # type: ignore[arg-type]

    def fail(self, error: Exception) -> None:
        """A line can't be translated, so the request can't be answered."""
        self.dropped = True
        self._tell(lambda: self.done.set_exception(error))

    def _tell(self, settle: Callable[[], None]) -> None:
        loop = self.done.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(lambda: None if self.done.done() else settle())


class Worker:
    """A model, what waits for it and the thread between them.

    Args:
        batch_seen: called with the lines, prompt tokens and answer tokens of each batch, and its
            direction.
    """

    def __init__(self, name: str, translator: Translates, limits: Limits, batch_seen: Any):
        self.name, self.translator, self._limits = name, translator, limits
        self._batch_seen = batch_seen
        self._orders: deque[Order] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"evokd {name}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Lines that the model wasn't given yet."""
        with self._changed:
            return self._waiting()

    def _waiting(self) -> int:
        return sum(len(order.lines) - order.given for order in self._orders)

    async def translate(self, lines: Sequence[str], direction: Direction) -> list[Answer]:
        """An answer to each line; they leave the queue where this is cancelled.

        Raises:
            Refused: too many lines wait already, or the thread is gone.
        """
        order = Order(lines, direction)
        with self._changed:
            most = self._limits.waiting
            if len(lines) > most:
                raise Refused(413, f"{len(lines)} lines at once; at most {most} may wait")
            if self._waiting() + len(lines) > most:
                raise Refused(429, f"{self._waiting()} lines are waiting; come again")
            if not self.alive:
                raise Refused(503, f"{self.name} is out of order")
            if not lines:
                return []
            self._orders.append(order)
            self._changed.notify()
        try:
            return await order.done
        finally:
            with self._changed:
                order.dropped = True
                if order in self._orders:
                    self._orders.remove(order)

    def close(self) -> None:
        """Let the thread end behind the batch that it is at."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def ended(self, seconds: float) -> bool:
        """Wait for that, so many seconds."""
        self._thread.join(seconds)
        return not self.alive

    def _work(self) -> None:
        while batch := self._next():
            self._answer(batch)

    def _next(self) -> list[tuple[Order, int]]:
        """Orders and places of the lines that come next; none when it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._orders or self._closed)
            if self._closed:
                return []
            direction = self._orders[0].direction
            turns = deque(order for order in self._orders if order.direction == direction)
            served: set[Order] = set()
            batch: list[tuple[Order, int]] = []
            while turns and len(batch) < self._limits.batch_size:
                order = turns.popleft()
                batch.append((order, order.given))
                served.add(order)
                order.given += 1
                if order.given < len(order.lines):
                    turns.append(order)
            others = (order for order in self._orders if order not in served)
            self._orders = deque([*others, *(order for order in turns if order in served)])
            return batch

    def _answer(self, batch: list[tuple[Order, int]]) -> None:
        """Translate a batch. One that fails is tried in halves, so that a line that can't be
        translated, or a batch that takes too much memory, is nobody else's loss."""
        left = dict(enumerate(batch))
        lines = [order.lines[place] for order, place in batch]
        source, target = batch[0][0].direction
        size = {"beam": self._limits.beam, "batch_size": self._limits.batch_size}
        read = written = 0
        try:
            with closing(self.translator.answers(lines, source, target, **size)) as answers:  # type: ignore[type-var]
                for answer in answers:
                    order, place = left.pop(answer.job.line)
                    read += len(answer.job.prompt_ids)
                    written += len(answer.ids)
                    order.answer(place, answer)
                    if all(order.dropped for order, _ in left.values()):
                        break
        except Exception as error:
            log_error(error, f"{self.name}: {len(batch)} lines of {source}-{target}")
            again = list(left.values())
            if len(batch) == 1:
                for order, _ in again:
                    order.fail(error)
                return
            for half in (again[: len(again) // 2], again[len(again) // 2 :]):
                if half:
                    self._answer(half)
        self._batch_seen(len(batch) - len(left), read, written, f"{source}-{target}")


def log_error(error: BaseException, what: str) -> None:
    """Note an error of ours without its message, which may hold what a user sent."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    log.error("%s: %s%s", what, type(error).__name__, where)
