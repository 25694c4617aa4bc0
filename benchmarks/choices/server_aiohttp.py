# /// script
# requires-python = ">=3.11"
# dependencies = ["aiohttp==3.14.5", "uvloop==0.23.0"]
# ///
"""aiohttp.web as the server."""

from collections.abc import AsyncIterator

import uvloop
from aiohttp import web

from benchmarks.choices.client_aiohttp import open_client
from benchmarks.choices.relay import PORT, Post

POST: web.AppKey[Post] = web.AppKey("POST")


async def client(app: web.Application) -> AsyncIterator[None]:
    async with open_client() as app[POST]:
        yield


async def chat(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    async with request.app[POST](body) as answer:
        headers = {name.decode(): value.decode() for name, value in answer.headers()}
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        async for piece in answer.pieces:
            await response.write(piece)
        await response.write_eof()
        return response


def application() -> web.Application:
    app = web.Application(client_max_size=1 << 26)
    app.cleanup_ctx.append(client)
    app.router.add_post("/v1/chat/completions", chat)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(application(), host="127.0.0.1", port=PORT, access_log=None, print=None, handler_cancellation=True)
