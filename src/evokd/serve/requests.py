"""What a client sends: read within limits, checked, and dropped when the client hangs up."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from evokd.data.textfiles import read_lines
from evokd.errors import InputError
from evokd.serve.limits import Limits, Refused

READ_ON = 8
"""How many times the limit of a body is read, and thrown away, before a client is cut off: most
look at no answer before they have sent everything."""
HUNG_UP = 499
"""nginx's status for a client that was gone before its answer; only the metrics see it."""
T = TypeVar("T")
Asked = TypeVar("Asked", bound=BaseModel)


async def read_body(request: Request, limits: Limits) -> bytes:
    """A body, whatever its headers say of its length.

    Raises:
        Refused: it is too long, or takes too long to come.
    """
    most, size, parts = limits.body, 0, []
    too_long = Refused(413, f"the body is longer than {most} bytes")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > READ_ON * most:
        raise too_long
    until = time.monotonic() + limits.reading
    chunks = request.stream()
    try:
        while True:
            chunk = await asyncio.wait_for(anext(chunks), max(0.001, until - time.monotonic()))
            size += len(chunk)
            if size > READ_ON * most:
                raise too_long
            if size <= most:
                parts.append(chunk)
    except StopAsyncIteration:
        pass
    except ClientDisconnect:
        raise Refused(HUNG_UP, "the client hung up") from None
    except (asyncio.TimeoutError, TimeoutError):
        raise Refused(408, f"the body didn't come within {limits.reading:g} seconds") from None
    if size > most:
        raise too_long
    return b"".join(parts)


async def read_json(request: Request, kind: type[Asked], limits: Limits) -> Asked:
    """What a JSON body asks for. Raises Refused: it is none, or not of this kind."""
    return _checked(kind.model_validate_json, await read_body(request, limits))


async def read_json_or_form(request: Request, kind: type[Asked], limits: Limits) -> Asked:
    """The same of JSON or of a form, as LibreTranslate takes them; in the address, too."""
    body = await read_body(request, limits)
    form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    if (form or not body.strip()) and not body.lstrip().startswith(b"{"):  # `curl -d` says form
        try:
            text = "&".join((request.url.query, body.decode("utf-8", "replace")))
            fields = parse_qs(text, keep_blank_values=True, max_num_fields=limits.lines + 10)
        except ValueError:
            raise Refused(413, f"more than {limits.lines} fields") from None
        flat = {name: found[0] if len(found) == 1 else found for name, found in fields.items()}
        return _checked(lambda _: kind.model_validate(flat), body)
    return _checked(kind.model_validate_json, body)


def _checked(read: Callable[[bytes], Asked], body: bytes) -> Asked:
    try:
        return read(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"][:3])
        raise Refused(400, f"{place}: {first['msg']}" if place else str(first["msg"])) from None


async def while_connected(request: Request, work: Awaitable[T], seconds: float) -> T:
    """What `work` gives; it is dropped where its client hangs up, or when its time is over.

    Raises:
        Refused: either of these.
    """
    doing, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({doing, leaving}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        if leaving.done():
            raise Refused(HUNG_UP, "the client hung up")
        raise Refused(503, f"not translated within {seconds:g} seconds; come again")
    finally:
        doing.cancel()
        leaving.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Keys:
    """API keys that are accepted; any, and none, where there are none."""

    def __init__(self, keys: Sequence[str] = ()):
        self._digests = [_digest(key) for key in keys]

    @classmethod
    def read(cls, file: Path | None) -> Keys:
        """Keys of a file, one a line, but for those that begin with #. Raises InputError: there is
        none in it."""
        if file is None:
            return cls()
        lines = [line.strip() for line in read_lines(file, may_be_empty=True)]
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise InputError(f"{file} holds no key; write one a line")
        return cls(keys)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def accept(self, key: str | None) -> bool:
        """Whether a key is one of them; it takes the same time for all that aren't."""
        given = _digest(key or "")
        found = [hmac.compare_digest(given, digest) for digest in self._digests]
        return any(found) or not found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def bearer(request: Request) -> str | None:
    """The key of `Authorization: Bearer KEY`."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None
