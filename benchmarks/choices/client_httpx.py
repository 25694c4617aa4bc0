# /// script
# requires-python = ">=3.11"
# dependencies = ["httpx==0.28.1", "httptools==0.9.0", "uvicorn==0.54.0", "uvloop==0.23.0"]
# ///
"""httpx as the client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from benchmarks.choices.relay import JSON, URL, Answer, Post, length_of
from benchmarks.choices.shell import serve


@asynccontextmanager
async def open_client() -> AsyncIterator[Post]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=1024)
    async with httpx.AsyncClient(timeout=None, limits=limits, trust_env=False) as client:

        @asynccontextmanager
        async def post(body: bytes) -> AsyncIterator[Answer]:
            async with client.stream("POST", URL, content=body, headers=JSON) as reply:
                length = length_of(reply.headers.get("content-length"))
                yield Answer(reply.status_code, reply.headers["content-type"], length, reply.aiter_raw())

        yield post


if __name__ == "__main__":
    serve(open_client)
