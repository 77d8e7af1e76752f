"""A server from its port to its last answer."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from evokd.errors import InputError
from evokd.serve.app import Guard
from evokd.serve.limits import Limits

SPARE_FILES = 256
"""Open files besides connections."""


def bind(host: str, port: int) -> socket.socket:
    """A socket at a port, at which nobody is answered yet; 0 is any that is free.

    Raises:
        InputError: it is taken, or not ours to take.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(
            f"{host}, port {port}: {why}; another one is taken with --port, and any that is free "
            "with --port 0"
        ) from None
    return bound


def address_of(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Server(uvicorn.Server):
    """Answers until SIGTERM or SIGINT, or `stop`: says no to what comes then and ends what has
    begun. A second signal stops at once.

    Args:
        ready: called when it answers.
    """

    def __init__(self, app: Guard, limits: Limits, ready: Callable[[], None] = lambda: None):
        _allow_files(limits.connections + SPARE_FILES)
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http=type("Protocol", (_Protocol,), {"reading": limits.reading}),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # what it warns of is what hostile clients send
            access_log=False,
            server_header=False,
            limit_concurrency=limits.connections,
            timeout_graceful_shutdown=int(limits.seconds + 2 * limits.reading) + 1,
        )
        super().__init__(config)
        self._app, self._ready = app, ready

    def answer(self, bound: socket.socket) -> bool:
        """Answer at a port; in the end, whether all were answered."""
        self.run(sockets=[bound])
        return not self.force_exit

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    def stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = self._app.stopping = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn's own raises them again in the end, which would be the exit status."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        with contextlib.suppress(ValueError, RuntimeError):  # a thread hears no signals
            for each in signals:
                loop.add_signal_handler(each, self.stop)
        try:
            yield
        finally:
            for each in signals:
                loop.remove_signal_handler(each)


class _Protocol(H11Protocol):
    """Hangs up on who doesn't send the head of a request in time, or doesn't take its answer."""

    reading: float
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._waiting is not None:
            self._waiting.cancel()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.loop.call_later(self.reading, self._drop_unread, self.cycle)

    def _drop_unread(self, cycle: Any) -> None:
        if cycle is self.cycle and self.transport.get_write_buffer_size():
            self.transport.abort()

    def _watch(self) -> None:
        at_head = self.conn.their_state is h11.IDLE
        if at_head and self._waiting is None:
            self._waiting = self.loop.call_later(self.reading, self.transport.close)
        elif not at_head and self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def _allow_files(count: int) -> None:
    """Let this process hold so many files open, or as many as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        most = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
