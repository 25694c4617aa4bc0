# /// script
# requires-python = ">=3.11"
# dependencies = ["aiohttp==3.14.5", "httptools==0.9.0", "uvicorn==0.54.0", "uvloop==0.23.0"]
# ///
"""aiohttp as the client; the server scripts use it too."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from benchmarks.choices.relay import JSON, URL, Answer, Post, length_of


@asynccontextmanager
async def open_client() -> AsyncIterator[Post]:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:

        @asynccontextmanager
        async def post(body: bytes) -> AsyncIterator[Answer]:
            async with session.post(URL, data=body, headers=JSON) as reply:
                length = length_of(reply.headers.get("content-length"))
                yield Answer(reply.status, reply.headers["content-type"], length, reply.content.iter_any())

        yield post


if __name__ == "__main__":
    from benchmarks.choices.shell import serve

    serve(open_client)
