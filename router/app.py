"""The endpoint: every URL, and `answer`, the whole path of one request.

Read the Ask, view the Fleet and choose, open the first target that yields a token, relay, settle.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Lifespan

from router.ask import Ask, Endpoint, read_ask
from router.attempts import open_first
from router.config import Keys
from router.errors import ApiError
from router.policy import Decision
from router.relay import Relayed, unless_gone
from router.served import CLIENT_GONE, Doors, Served, refused, settle
from router.status import decision_row, model_list, ready, status

OPEN_PATHS = frozenset({"/healthz", "/readyz"})


def create_app(keys: Keys, lifespan: Lifespan[FastAPI]) -> FastAPI:
    """The application. `lifespan` opens `app.state.doors`, where all state lives; no `keys`: an open endpoint."""
    app = FastAPI(
        title="Spillway",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )

    def add(path: str, method: str, respond: Callable[[Doors, Request], Awaitable[Response]]) -> None:
        async def guarded(request: Request) -> Response:
            _check_key(request, keys)
            return await respond(request.app.state.doors, request)

        app.add_route(path, guarded, methods=[method])

    for path, method, respond in ROUTES:
        add(path, method, respond)
    app.add_exception_handler(ApiError, _render)
    app.add_exception_handler(HTTPException, _render_http)
    app.add_exception_handler(ClientDisconnect, _render_nothing)
    app.add_exception_handler(Exception, _render_fault)
    return app


async def answer(doors: Doors, request: Request, endpoint: Endpoint) -> Response:
    """One request from its first byte to the ledger."""
    arrived_s = time.monotonic()
    raw = await _body(request, doors.watch.rules.limits.body_bytes)
    ask = read_ask(raw, request.headers, endpoint, doors.watch.rules)
    decision = doors.watch.decide(ask, doors.money(), arrived_s)
    try:
        if decision.refusal is not None:
            raise decision.refusal
        served = await unless_gone(request, open_first(doors, ask, decision, arrived_s))
    except ApiError as error:
        doors.watch.decisions.append(decision_row(ask, decision, None, error.message))
        refused(doors, ask, decision, arrived_s, error)
        return _error(error, _why(ask, decision))
    if served is None:
        doors.watch.decisions.append(decision_row(ask, decision, None, "the client left"))
        refused(doors, ask, decision, arrived_s, ApiError(CLIENT_GONE, "client_gone", "the client left"))
        return Response(status_code=CLIENT_GONE)
    doors.watch.decisions.append(decision_row(ask, decision, served))
    return _response(doors, served, arrived_s)


def _response(doors: Doors, served: Served, arrived_s: float) -> Response:
    if served.reply.events is not None:
        return Relayed(doors, served, arrived_s)
    settle(doors, served, arrived_s, 200, None)
    return Response(served.reply.body, headers=served.headers(), media_type=served.reply.content_type)


def _why(ask: Ask, decision: Decision) -> dict[str, str]:
    return {
        "x-spillway-tier": ask.tier,
        "x-spillway-reason": decision.reason,
        "x-spillway-attempts": str(len(decision.targets)),
        "x-request-id": ask.request_id,
    }


async def _chat(doors: Doors, request: Request) -> Response:
    return await answer(doors, request, Endpoint.CHAT)


async def _completion(doors: Doors, request: Request) -> Response:
    return await answer(doors, request, Endpoint.COMPLETION)


async def _models(doors: Doors, _request: Request) -> Response:
    return _json(model_list(doors.watch.view(time.monotonic()), doors.watch.rules))


async def _model(doors: Doors, request: Request) -> Response:
    name = request.path_params["name"]
    models = model_list(doors.watch.view(time.monotonic()), doors.watch.rules)["data"]
    found = next((model for model in models if model["id"] == name), None)
    if found is None:
        there = ", ".join(model["id"] for model in models)
        raise ApiError(404, "model_not_found", f"the model {name!r} does not exist; there are: {there}", "model")
    return _json(found)


async def _healthz(_doors: Doors, _request: Request) -> Response:
    return _json({"status": "alive"})


async def _readyz(doors: Doors, _request: Request) -> Response:
    can, body = ready(doors.watch.view(time.monotonic()))
    return _json(body, 200 if can else 503)


async def _metrics(doors: Doors, _request: Request) -> Response:
    return Response(doors.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _status(doors: Doors, _request: Request) -> Response:
    return _json(status(doors, time.monotonic()))


async def _decisions(doors: Doors, _request: Request) -> Response:
    return _json({"decisions": list(reversed(doors.watch.decisions))})


ROUTES: tuple[tuple[str, str, Callable[[Doors, Request], Coroutine[Any, Any, Response]]], ...] = (
    (Endpoint.CHAT, "POST", _chat),
    (Endpoint.COMPLETION, "POST", _completion),
    ("/v1/models", "GET", _models),
    ("/v1/models/{name:path}", "GET", _model),
    ("/healthz", "GET", _healthz),
    ("/readyz", "GET", _readyz),
    ("/metrics", "GET", _metrics),
    ("/spillway/status", "GET", _status),
    ("/spillway/decisions", "GET", _decisions),
)


async def _body(request: Request, most_bytes: int) -> bytes:
    """The request body. Refused as soon as it is known to be too long, not after it was read."""
    too_long = ApiError(413, "body_too_large", f"the body is longer than {most_bytes} bytes ([limits] body_bytes)")
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise ApiError(415, "unsupported_encoding", f"the body is encoded as {encoding}; send it as it is")
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > most_bytes:
        raise too_long
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most_bytes:
            raise too_long
        chunks.append(chunk)
    return b"".join(chunks)


def _check_key(request: Request, keys: Keys) -> None:
    """Constant-time comparison against every accepted key. The path comes from the scope, never from a header."""
    if not keys.accepted or request.scope["path"] in OPEN_PATHS:
        return
    given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
    if not any([hmac.compare_digest(given, key.encode()) for key in keys.accepted]):
        raise ApiError(401, "invalid_api_key", "the API key is missing or wrong; send it as a Bearer token")


def _json(body: Any, status_code: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status_code, headers, "application/json")


def _error(error: ApiError, headers: dict[str, str] | None = None) -> Response:
    return _json(error.envelope(), error.status, error.headers() | (headers or {}))


async def _render(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _error(error)


async def _render_http(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, in the OpenAI envelope like everything else."""
    assert isinstance(error, HTTPException)
    paths = ", ".join(path for path, _, _ in ROUTES)
    message = f"{request.method} {request.scope['path']}: {error.detail}; there are: {paths}"
    return _error(ApiError(error.status_code, "unknown_url", message), dict(error.headers or {}))


async def _render_nothing(_request: Request, _gone: Exception) -> Response:
    """The client left while it was still sending its request."""
    return Response(status_code=CLIENT_GONE)


async def _render_fault(_request: Request, _fault: Exception) -> Response:
    """A fault of ours. The server writes the traceback into the log."""
    return _error(
        ApiError(500, "internal_error", "the router failed; its log has the traceback (`spillway logs router`)")
    )
