"""LibreTranslate's API: /translate, /languages, /detect, /health and what its clients ask besides.

As there, bodies are JSON or forms, q is a text or a list of texts, and an error is {"error": why}.
Unlike there, no alternatives are made: their list is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from evokd.data.identification import probabilities
from evokd.data.languages import language
from evokd.serve.limits import Limits, Refused
from evokd.serve.requests import Keys, bearer, read_json_or_form, while_connected
from evokd.serve.translators import Translators, canonical

AUTO = "auto"
SURE = 0.8
"""Probability from which on a text is taken to need no translation."""
LOOKED_AT = 2_000
"""Characters of a text that tell its language."""
LIKELY = 0.05
"""Probability from which a language is named by /detect."""
NO_KEY = "Please contact the server operator to get an API key"


class DetectRequest(BaseModel):
    """Body of /detect."""

    q: str | list[str]
    api_key: str | None = None


class TranslateRequest(DetectRequest):
    """Body of /translate."""

    source: str
    target: str
    format: Literal["text", "html"] = "text"
    alternatives: int = 0


def routes(translators: Translators, keys: Keys, limits: Limits) -> APIRouter:
    """The API of some translators."""
    router = APIRouter()
    probabilities("")  # reads what it knows of languages before anyone waits for that

    def admit(request: Request, key: str | None) -> None:
        key = key or bearer(request)
        if not keys.accept(key):
            raise Refused(403, "Invalid API key") if key else Refused(400, NO_KEY)

    @router.post("/translate", openapi_extra=body_of(TranslateRequest))
    async def translate(request: Request) -> dict[str, Any]:
        asked = await read_json_or_form(request, TranslateRequest, limits)
        admit(request, asked.api_key)
        texts = _texts(asked.q, limits)
        sources, found = [asked.source] * len(texts), []
        if asked.source == AUTO:
            target = canonical(asked.target)
            among = translators.sources(target)
            found = [detected(text, among, target) for text in texts]
            sources = [one["language"] for one in found]
        made = await while_connected(
            request, _translated(translators, texts, sources, asked), limits.seconds
        )
        answer: dict[str, Any] = {"translatedText": made}
        if found:
            answer["detectedLanguage"] = found
        if asked.alternatives > 0:
            answer["alternatives"] = [[] for _ in texts]
        if isinstance(asked.q, str):
            answer = {name: values[0] for name, values in answer.items()}
        return answer

    @router.post("/detect", openapi_extra=body_of(DetectRequest))
    async def detect(request: Request) -> list[Any]:
        asked = await read_json_or_form(request, DetectRequest, limits)
        admit(request, asked.api_key)
        found = [_likely(text) for text in _texts(asked.q, limits)]
        return found[0] if isinstance(asked.q, str) else found

    @router.get("/languages")
    async def languages() -> list[dict[str, Any]]:
        pairs = translators.directions
        codes = dict.fromkeys(code for pair in pairs for code in pair)
        return [
            _named(code) | {"targets": [target for source, target in pairs if source == code]}
            for code in codes
        ]

    @router.get("/frontend/settings")
    async def settings() -> dict[str, Any]:
        source, target = (_named(code) for code in translators.directions[0])
        return {
            "charLimit": limits.line,
            "apiKeys": bool(keys),
            "keyRequired": bool(keys),
            "frontendTimeout": 500,
            "suggestions": False,
            "filesTranslation": False,
            "supportedFilesFormat": [],
            "language": {"source": source, "target": target},
        }

    return router


def body_of(kind: type[BaseModel]) -> dict[str, Any]:
    """A body for /openapi.json, of a route that reads it by itself, within its limits."""
    return {"requestBody": {"content": {"application/json": {"schema": kind.model_json_schema()}}}}


async def _translated(
    translators: Translators, texts: Sequence[str], sources: Sequence[str], asked: TranslateRequest
) -> list[str]:
    """Texts translated, those of one language together; what was found to be in the target language
    already stays."""
    made = dict(enumerate(texts))
    target = canonical(asked.target)
    others = [one for one in sources if asked.source != AUTO or one != target]
    directions = {source: translators.check(source, asked.target) for source in others}
    for source, direction in directions.items():
        places = [place for place, each in enumerate(sources) if each == source]
        some = [texts[place] for place in places]
        done = await translators.translate(some, direction, asked.format)
        made.update(zip(places, done.texts, strict=True))
    return list(made.values())


def _texts(q: str | list[str], limits: Limits) -> list[str]:
    texts = [q] if isinstance(q, str) else q
    if not texts:
        raise Refused(400, "q: an empty list")
    if len(texts) > limits.lines:
        raise Refused(413, f"{len(texts)} texts; at most {limits.lines} are taken at once")
    return texts


def detected(text: str, among: Sequence[str], target: str = "") -> dict[str, Any]:
    """The likeliest of some languages, or the target where it is surely in that, and by how many
    percent it is that one of all."""
    found = probabilities(text[:LOOKED_AT])
    best = max(among, key=lambda code: found.get(code, 0.0), default=AUTO)
    if among and found.get(target, 0.0) >= SURE:
        best = target
    return {"confidence": round(100 * found.get(best, 0.0), 1), "language": best}


def _likely(text: str) -> list[dict[str, Any]]:
    found = sorted(probabilities(text[:LOOKED_AT]).items(), key=lambda item: -item[1])
    likely = [item for item in found if item[1] >= LIKELY] or found[:1]
    return [{"confidence": round(100 * p, 1), "language": code} for code, p in likely]


def _named(code: str) -> dict[str, Any]:
    return {"code": code, "name": language(code).name}
