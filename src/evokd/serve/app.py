"""The application: both APIs, health, metrics and the page, and what stands around a request."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response

from evokd.rundir.versions import versions
from evokd.serve import chat, libretranslate
from evokd.serve.limits import Limits, Refused
from evokd.serve.metrics import Metrics
from evokd.serve.requests import Keys, bearer
from evokd.serve.translators import Translators
from evokd.serve.waiting import log_error

PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")


def make_app(translators: Translators, metrics: Metrics, keys: Keys, limits: Limits) -> Guard:
    """The ASGI application of some translators."""
    app = FastAPI(
        title="evokd",
        version=versions().get("evokd", "unknown"),
        docs_url=None,  # their pages fetch scripts from elsewhere
        redoc_url=None,
    )
    guard = Guard(app, metrics)
    app.include_router(libretranslate.routes(translators, keys, limits))
    app.include_router(chat.routes(translators, keys, limits))

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return error_response(request.url.path, error)

    @app.exception_handler(HTTPException)
    async def no_such_thing(request: Request, error: HTTPException) -> Response:
        return error_response(request.url.path, Refused(error.status_code, str(error.detail)))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        return error_response(request.url.path, Refused(500, "an error of the server's"))

    @app.get("/health")
    async def health() -> Response:
        """For who watches servers: 503 while it stops, or when a model is out of order."""
        if translators.healthy and not guard.stopping:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "stopping" if guard.stopping else "failed"}, 503)

    @app.get("/metrics")
    async def numbers(request: Request) -> Response:
        """For Prometheus; with a key where there are keys: they tell who translates how much."""
        if not keys.accept(bearer(request)):
            raise Refused(401, "metrics need a key: Authorization: Bearer KEY")
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return HTMLResponse(PAGE, headers=PAGE_HEADERS)

    guard.endpoints = {*app.openapi()["paths"], "/"}
    return guard


def error_response(path: str, error: Refused) -> Response:
    """As the API that was asked says it."""
    if not path.startswith("/v1"):
        return JSONResponse({"error": error.message}, error.status, error.headers)
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    if error.status == 429:
        kind = "rate_limit_error"
    told = {"message": error.message, "type": kind, "param": None, "code": error.code}
    return JSONResponse({"error": told}, error.status, error.headers)


class Guard:
    """Around the application: counts requests, says no while the server stops, and notes errors of
    ours, without what the client sent.

    Attributes:
        endpoints: paths that are counted by name.
    """

    def __init__(self, app: Any, metrics: Metrics):
        self.stopping = False
        self.endpoints: set[str] = set()
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        began, path, status = time.monotonic(), scope["path"], 0

        async def sending(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            if self.stopping and path != "/health":
                stopping = error_response(path, Refused(503, "the server stops"))
                await stopping(scope, receive, sending)
            else:
                await self._app(scope, receive, sending)
        except Exception as error:  # answered already, by `unexpected`
            log_error(error, f"{scope['method']} answered {status}")
        finally:
            endpoint = path if path in self.endpoints else "other"
            self._metrics.request_seen(endpoint, status, time.monotonic() - began)


def _policy(page: str) -> str:
    """A content security policy that lets a page have its own style and script, no others."""
    allowed = {}
    for kind, text in re.findall(r"<(style|script)>(.*?)</\1>", page, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        allowed[f"{kind}-src"] = f"'sha256-{digest}'"
    rules = {"default-src": "'none'", **allowed, "connect-src": "'self'", "img-src": "data:"}
    rules |= dict.fromkeys(("base-uri", "form-action", "frame-ancestors"), "'none'")
    return "; ".join(f"{name} {value}" for name, value in rules.items())


PAGE_HEADERS = {
    "Content-Security-Policy": _policy(PAGE),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
