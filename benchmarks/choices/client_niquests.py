# /// script
# requires-python = ">=3.11"
# dependencies = ["niquests==3.21.2", "httptools==0.9.0", "uvicorn==0.54.0", "uvloop==0.23.0"]
# ///
"""niquests as the client."""

# Its dependencies are in the header alone, so the project's environment cannot resolve them.
# mypy: disable-error-code="import-not-found"

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import niquests

from benchmarks.choices.relay import JSON, URL, Answer, Post, length_of
from benchmarks.choices.shell import serve


@asynccontextmanager
async def open_client() -> AsyncIterator[Post]:
    async with niquests.AsyncSession(
        pool_connections=1, pool_maxsize=1024, disable_http2=True, disable_http3=True
    ) as session:
        session.trust_env = False

        @asynccontextmanager
        async def post(body: bytes) -> AsyncIterator[Answer]:
            reply = await session.post(URL, data=body, headers=JSON, stream=True)
            try:
                length = length_of(reply.headers.get("content-length"))
                pieces = await reply.iter_raw(-1)
                yield Answer(reply.status_code, reply.headers["content-type"], length, pieces)
            finally:
                await reply.close()

        yield post


if __name__ == "__main__":
    serve(open_client)
