# /// script
# requires-python = ">=3.11"
# dependencies = ["pyqwest==0.12.0", "httptools==0.9.0", "uvicorn==0.54.0", "uvloop==0.23.0"]
# ///
"""pyqwest (reqwest, in Rust) as the client."""

# Its dependencies are in the header alone, so the project's environment cannot resolve them.
# mypy: disable-error-code="import-not-found"

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pyqwest

from benchmarks.choices.relay import JSON, URL, Answer, Post, length_of
from benchmarks.choices.shell import serve


@asynccontextmanager
async def open_client() -> AsyncIterator[Post]:
    async with pyqwest.HTTPTransport(
        enable_gzip=False, enable_brotli=False, enable_zstd=False, enable_otel=False, follow_redirects=False
    ) as transport:
        client = pyqwest.Client(transport)

        @asynccontextmanager
        async def post(body: bytes) -> AsyncIterator[Answer]:
            async with client.stream("POST", URL, JSON, body) as reply:
                length = length_of(reply.headers.get("content-length"))
                yield Answer(reply.status, reply.headers["content-type"], length, reply.content)

        yield post


if __name__ == "__main__":
    serve(open_client)
