"""Every URL but the hot ones: what the router says about itself. The completion endpoints are `router.front`'s."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import orjson
from msgspec import to_builtins
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Lifespan

from router.answer import check_key
from router.ask import Endpoint
from router.errors import ApiError
from router.exchange import FAULT, check_size
from router.rehearsal import rehearse
from router.served import Doors
from router.status import model_list, ready, status

NOT_ALLOWED = 405
REHEARSAL = "/spillway/route"
OPEN_PATHS = frozenset({"/healthz", "/readyz"})


def create_app(lifespan: Lifespan[Starlette]) -> Starlette:
    """The application. `lifespan` yields {"doors": Doors}, where all state lives."""
    app = Starlette(lifespan=lifespan)
    app.router.redirect_slashes = False

    def add(method: str, path: str, respond: Callable[[Doors, Request], Awaitable[Response]]) -> None:
        async def guarded(request: Request) -> Response:
            doors: Doors = request.state.doors
            # The path comes from the scope, never from a header.
            if request.scope["path"] not in OPEN_PATHS:
                check_key(request.headers, doors.keys)
            return await respond(doors, request)

        app.add_route(path, guarded, methods=[method])

    for path, respond in ROUTES:
        add("GET", path, respond)
    add("POST", REHEARSAL, _route)
    for path in (*Endpoint, REHEARSAL):
        app.add_route(path, _only_post, methods=["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
    app.add_exception_handler(ApiError, _render)
    app.add_exception_handler(HTTPException, _render_http)
    app.add_exception_handler(Exception, _render_fault)
    return app


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
    await doors.ledger.refresh()
    return Response(doors.reports.page(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _status(doors: Doors, _request: Request) -> Response:
    await doors.ledger.refresh()
    return _json(status(doors, time.monotonic()))


async def _decisions(doors: Doors, _request: Request) -> Response:
    return _json({"decisions": doors.reports.together().decisions})


async def _route(doors: Doors, request: Request) -> Response:
    raw = await _body(request, doors.watch.rules.limits.body_bytes)
    return _json(to_builtins(await rehearse(doors, raw, request.headers, request.query_params.get("tokens"))))


async def _body(request: Request, most_bytes: int) -> bytes:
    """Raises ApiError 413."""
    parts: list[bytes] = []
    size_bytes = 0
    async for part in request.stream():
        size_bytes += len(part)
        check_size(size_bytes, most_bytes)
        parts.append(part)
    return b"".join(parts)


async def _only_post(request: Request) -> Response:
    raise ApiError(405, "method_not_allowed", f"{request.method} {request.scope['path']}: send a POST")


ROUTES: tuple[tuple[str, Callable[[Doors, Request], Coroutine[Any, Any, Response]]], ...] = (
    ("/v1/models", _models),
    ("/v1/models/{name:path}", _model),
    ("/healthz", _healthz),
    ("/readyz", _readyz),
    ("/metrics", _metrics),
    ("/spillway/status", _status),
    ("/spillway/decisions", _decisions),
)


def _json(body: Any, status_code: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status_code, headers, "application/json")


def _error(error: ApiError, headers: dict[str, str] | None = None) -> Response:
    allow = {"allow": "POST"} if error.status == NOT_ALLOWED else {}
    return _json(error.envelope(), error.status, error.headers() | allow | (headers or {}))


async def _render(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _error(error)


async def _render_http(request: Request, error: Exception) -> Response:
    """Unknown paths and methods, in the OpenAI envelope like everything else."""
    assert isinstance(error, HTTPException)
    paths = ", ".join((*Endpoint, *(path for path, _ in ROUTES), REHEARSAL))
    message = f"{request.method} {request.scope['path']}: {error.detail}; there are: {paths}"
    return _error(ApiError(error.status_code, "unknown_url", message), dict(error.headers or {}))


async def _render_fault(_request: Request, _fault: Exception) -> Response:
    """A fault of ours. The server writes the traceback into the log."""
    return _error(FAULT)
