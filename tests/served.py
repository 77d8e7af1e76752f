"""A server for tests, in a thread, and a bare client."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import contextmanager

from evokd.data.documents import read_document
from evokd.serve.app import make_app
from evokd.serve.limits import Limits
from evokd.serve.metrics import Metrics
from evokd.serve.requests import Keys
from evokd.serve.server import Server, address_of, bind
from evokd.serve.translators import Translators
from evokd.translate.decoding import Answer, Job


class Echo:
    """Says each line backwards, a token a character, when it may.

    Attributes:
        batches: what it was asked, in order.
        may: until this is set, it waits.
    """

    def __init__(self, *directions: str):
        self.directions = list(directions) or ["en-de", "de-en"]
        self.batches: list[list[str]] = []
        self.may = threading.Event()
        self.may.set()

    def document(self, text, form, source, target):
        return read_document(text, form, source, len, 10_000)

    def answers(self, lines, source, target, *, beam, batch_size):
        assert len(lines) <= batch_size
        self.batches.append(list(lines))
        self.may.wait(30)
        for place, line in enumerate(lines):
            if "poison" in line:
                raise ValueError(f"what nobody should read: {line}")
            text = f"{target}:{line[::-1]}"
            yield Answer(Job([1, 2, 3], 99, place, False), [5] * len(line), text, "eos")


class Running:
    """A server at work."""

    def __init__(self, server: Server, translators: Translators, url: str):
        self.server, self.translators, self.url = server, translators, url
        self.port = int(url.rpartition(":")[2])

    def post(self, path: str, body: object, **headers: str) -> tuple[int, object]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return asyncio.run(ask(self.port, "POST", path, data, **headers))

    def get(self, path: str, **headers: str) -> tuple[int, object]:
        return asyncio.run(ask(self.port, "GET", path, b"", **headers))

    def metric(self, start: str) -> float:
        _, text = self.get("/metrics")
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(start))

    def waiting(self, lines: int) -> None:
        """Wait until so many lines do."""
        until_true(lambda: sum(w.waiting for w in self.translators.workers.values()) == lines)


def until_true(what, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


@contextmanager
def serving(models, keys=(), **limits):
    """Models by name, served until the block ends."""
    metrics, limits = Metrics(), Limits(**limits)
    translators = Translators(models, limits, metrics)
    bound = bind("127.0.0.1", 0)
    url = address_of(bound)
    server = Server(make_app(translators, metrics, Keys(keys), limits), limits)
    thread = threading.Thread(target=server.answer, args=(bound,))
    thread.start()
    until_true(lambda: server.started)
    try:
        yield Running(server, translators, url)
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()
        assert translators.close()


async def ask(port: int, method: str, path: str, body: bytes, **headers: str):
    """One request on a connection of its own: its status and what is in its body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        head = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *lines]
        writer.write("\r\n".join([*head, "Connection: close", "", ""]).encode() + body)
        answer = await reader.read()
    finally:
        writer.close()
    return parsed(answer)


def parsed(answer: bytes):
    head, _, rest = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    if b"application/json" in head:
        return status, json.loads(rest)
    return status, rest.decode()
