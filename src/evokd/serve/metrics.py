"""What Prometheus is told: sizes, times and counts, no text."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from evokd.serve.waiting import Worker

BATCHES = [2**power for power in range(11)]
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counts of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        here: Any = {"registry": self.registry}
        names = ["endpoint", "status"]
        self._requests = Counter("evokd_requests", "Requests that were answered", names, **here)
        told = "From a request's head to the end of its answer"
        self._seconds = Histogram("evokd_request_seconds", told, names[:1], buckets=SECONDS, **here)
        told = "Lines that were translated at once"
        self._batches = Histogram("evokd_batch_lines", told, buckets=BATCHES, **here)
        self._lines = Counter("evokd_lines", "Lines that were translated", ["direction"], **here)
        self._tokens = Counter("evokd_tokens", "Tokens", ["direction", "kind"], **here)
        self._waiting = Gauge("evokd_waiting_lines", "Lines in the queue", ["model"], **here)

    def request_seen(self, endpoint: str, status: int, seconds: float) -> None:
        self._requests.labels(endpoint, status).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def batch_seen(self, lines: int, read: int, written: int, direction: str) -> None:
        self._batches.observe(lines)
        self._lines.labels(direction).inc(lines)
        self._tokens.labels(direction, "prompt").inc(read)
        self._tokens.labels(direction, "answer").inc(written)

    def watch(self, workers: Iterable[Worker]) -> None:
        """Tell how many lines wait, when asked."""
        for worker in workers:
            self._waiting.labels(worker.name).set_function(partial(getattr, worker, "waiting"))

    def text(self) -> bytes:
        """In Prometheus's text format, version 0.0.4."""
        return generate_latest(self.registry)
