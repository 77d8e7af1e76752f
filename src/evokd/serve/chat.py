"""OpenAI's chat API for prompts that ask for a translation.

The last message of the user holds the text, and the instruction unless the system's message or the
name of the model does: NAME:en-de. Earlier turns are not read: every text is translated by itself.
Sampling is greedy whatever temperature, top_p, seed and penalties say, and an answer ends where the
translation does, whatever max_tokens says.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from evokd.serve.instructions import ACCEPTED, languages_in, read_prompt
from evokd.serve.libretranslate import detected
from evokd.serve.limits import Limits, Refused
from evokd.serve.requests import Keys, bearer, read_json, while_connected
from evokd.serve.translators import Translated, Translators
from evokd.serve.waiting import Direction


class Part(BaseModel):
    """One part of a message."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One turn of a chat."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content or [])


class StreamOptions(BaseModel):
    """How a stream ends."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """Body of /v1/chat/completions; fields that aren't here are ignored, as `temperature` is."""

    model: str
    messages: list[Message] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    logprobs: bool | None = None
    response_format: dict[str, Any] | None = None
    audio: dict[str, Any] | None = None


def routes(translators: Translators, keys: Keys, limits: Limits) -> APIRouter:
    """The API of some translators."""
    router = APIRouter(prefix="/v1")
    began = int(time.time())

    def admit(request: Request) -> None:
        if not keys.accept(bearer(request)):
            raise Refused(401, "Incorrect API key provided", "invalid_api_key")

    @router.post("/chat/completions")
    async def chat(request: Request) -> Response:
        admit(request)
        asked = await read_json(request, ChatRequest, limits)
        _check(asked)
        direction, text = what_is_asked(asked, translators)
        made = await while_connected(
            request, translators.translate([text], direction), limits.seconds
        )
        head = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": asked.model,
        }
        content = made.texts[0]
        stops = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
        for stop in filter(None, stops):
            content = content.split(stop)[0]
        reason = "length" if made.cut_off else "stop"
        if asked.stream:
            with_usage = asked.stream_options and asked.stream_options.include_usage
            usage = _usage(made) if with_usage else None
            events = _events(head | {"object": "chat.completion.chunk"}, content, reason, usage)
            return Response("".join(events), media_type="text/event-stream")
        message = {"role": "assistant", "content": content, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        whole = {"object": "chat.completion", "choices": [choice], "usage": _usage(made)}
        return JSONResponse(head | whole)

    @router.get("/models")
    async def models(request: Request) -> dict[str, Any]:
        admit(request)
        names = [
            name
            for worker in translators.workers
            for name in (worker, *(f"{worker}:{'-'.join(pair)}" for pair in translators.of(worker)))
        ]
        card = {"object": "model", "created": began, "owned_by": "evokd"}
        return {"object": "list", "data": [card | {"id": name} for name in names]}

    return router


def _check(asked: ChatRequest) -> None:
    """Raises Refused: for what a translator can't do and mustn't leave out silently."""
    form = (asked.response_format or {}).get("type", "text")
    wrong = {
        "n": asked.n not in (None, 1),
        "tools": bool(asked.tools),
        "functions": bool(asked.functions),
        "logprobs": bool(asked.logprobs),
        "audio": bool(asked.audio),
        "response_format": form != "text",
    }
    named = [name for name, is_wrong in wrong.items() if is_wrong]
    if named:
        raise Refused(400, f"{', '.join(named)}: a translator can't do that; leave it out")
    if asked.messages[-1].role != "user":
        raise Refused(400, "the last message must be the user's, which holds the text")


def what_is_asked(asked: ChatRequest, translators: Translators) -> tuple[Direction, str]:
    """The direction and the text.

    Raises:
        Refused: no model of that name, no direction that can be told, or one that it doesn't have.
    """
    name, _, suffix = asked.model.rpartition(":")
    if asked.model in translators.workers:
        name, suffix = asked.model, ""
    if name not in translators.workers:
        known = ", ".join(translators.workers)
        raise Refused(
            404,
            f"the model {asked.model[:80]!r} does not exist; there is {known}",
            "model_not_found",
        )
    own = translators.of(name)
    prompt = asked.messages[-1].text
    system = "\n".join(m.text for m in asked.messages if m.role in ("system", "developer"))
    source, target, text = None, None, prompt
    if "translat" in system.lower():
        source, target = languages_in(system)
    if target is None and (instruction := read_prompt(prompt)):
        source, target, text = instruction.source, instruction.target, instruction.text
    if suffix:
        pair = tuple(suffix.split("-"))
        if len(pair) != 2:
            raise Refused(404, f"the model {asked.model[:80]!r} does not exist", "model_not_found")
        direction = translators.check(*pair)
        if target and (source or direction[0], target) != direction:
            asks = f"{source or '?'}-{target}"
            raise Refused(400, f"the prompt asks for {asks}, the model is {asked.model[:80]!r}")
    elif target:
        direction = translators.check(source or _guessed(text, target, own), target)
    elif len(own) == 1:
        direction = own[0]
    else:
        raise Refused(400, f"no direction is named; {ACCEPTED}")
    if direction not in own:
        known = ", ".join("-".join(pair) for pair in own)
        raise Refused(400, f"{name} translates {known}, not {'-'.join(direction)}")
    return direction, text


def _guessed(text: str, target: str, own: Sequence[Direction]) -> str:
    """The language of a text whose instruction doesn't tell it."""
    among = [pair[0] for pair in own if pair[1] == target]
    return among[0] if len(among) == 1 else str(detected(text, among)["language"])


def _usage(made: Translated) -> dict[str, int]:
    return {
        "prompt_tokens": made.prompt_tokens,
        "completion_tokens": made.tokens,
        "total_tokens": made.prompt_tokens + made.tokens,
    }


def _events(
    head: dict[str, Any], content: str, reason: str, usage: dict[str, int] | None
) -> Iterator[str]:
    """A stream of server-sent events: the whole text, why it ended, and what it took."""
    deltas: list[tuple[dict[str, str], str | None]] = [
        ({"role": "assistant", "content": content}, None),
        ({}, reason),
    ]
    for delta, finish in deltas:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        yield f"data: {json.dumps(head | {'choices': [choice]})}\n\n"
    if usage is not None:
        yield f"data: {json.dumps(head | {'choices': [], 'usage': usage})}\n\n"
    yield "data: [DONE]\n\n"
