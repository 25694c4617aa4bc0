# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "aiohttp==3.14.5", "fastapi==0.165.0", "h11==0.16.0", "httptools==0.9.0", "starlette==1.10.0", "uvicorn==0.54.0",
#     "uvloop==0.23.0",
# ]
# ///
"""uvicorn with h11 or httptools as its parser, and the relay as raw ASGI, a Starlette route or a FastAPI route."""

import argparse
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from benchmarks.choices.client_aiohttp import open_client
from benchmarks.choices.relay import Post, Relay
from benchmarks.choices.shell import serve_app

PATH = "/v1/chat/completions"


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Post]]:
    async with open_client() as post:
        yield {"post": post}


# StreamingResponse watches for the client's leaving and stops its iterator, which hangs up on the engine. Before the
# answer's head came nobody watches: the usual way to write such a route is measured here, not the best one.
async def chat(request: Request) -> StreamingResponse:
    body = await request.body()
    stack = AsyncExitStack()
    try:
        answer = await stack.enter_async_context(request.state.post(body))
    except BaseException:
        await stack.aclose()
        raise

    async def pieces() -> AsyncIterator[bytes]:
        async with stack:
            async for piece in answer.pieces:
                yield piece

    headers = {name.decode(): value.decode() for name, value in answer.headers()}
    return StreamingResponse(pieces(), answer.status, headers)


def application(kind: str) -> Any:
    if kind == "raw":
        return Relay(open_client)
    if kind == "starlette":
        return Starlette(routes=[Route(PATH, chat, methods=["POST"])], lifespan=lifespan)
    app = FastAPI(lifespan=lifespan)
    app.add_api_route(PATH, chat, methods=["POST"], response_model=None)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--http", choices=["httptools", "h11"], default="httptools")
    parser.add_argument("--app", choices=["raw", "starlette", "fastapi"], default="raw")
    options = parser.parse_args()
    serve_app(application(options.app), options.http)
