"""What a server takes, and how it says no."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How much a server takes at once, and how long it waits.

    Attributes:
        batch_size: lines that a model translates at once.
        beam: hypotheses side by side.
        body: bytes of a request.
        line: characters of a line.
        lines: of a request.
        waiting: lines that wait for a model, of all requests.
        connections: at once.
        seconds: from a request that is read to its answer.
        reading: seconds for a request's head, for its body, and for a client that takes its answer.
    """

    batch_size: int = 64
    beam: int = 1
    body: int = 2**20
    line: int = 5_000
    lines: int = 1_000
    waiting: int = 10_000
    connections: int = 2_000
    seconds: float = 60
    reading: float = 10


class Refused(Exception):
    """A request that isn't answered, and why: an HTTP status and what to do instead.

    Attributes:
        code: what OpenAI's clients look at besides the status.
    """

    def __init__(self, status: int, message: str, code: str | None = None):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code

    @property
    def headers(self) -> dict[str, str]:
        """When to come again, and whether the rest of the body is still wanted."""
        if self.status in (429, 503):
            return {"Retry-After": "1"}
        return {"Connection": "close"} if self.status in (408, 413) else {}
