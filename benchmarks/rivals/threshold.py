"""`python -m benchmarks.rivals.threshold`: at home while fewer than so many are in flight there, else to the cloud.

The rule that most of the field has, with nothing around it that could cost time: bytes are passed on as they come.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from benchmarks.loopback import listening, serve, url_of

LIMIT_S = 600.0
PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request goes, by which name its model is known there, and with which key."""

    url: str
    model: str
    key: str


class Threshold:
    """The one writer of its count."""

    def __init__(self, most: int, home: Place, cloud: Place) -> None:
        self._most = most
        self._home = home
        self._cloud = cloud
        self._in_flight = 0
        self._client: aiohttp.ClientSession | None = None

    def application(self) -> web.Application:
        """The one address that it has."""
        made = web.Application(client_max_size=64 * 2**20)
        made.add_routes([web.post(PATH, self._answer)])
        made.cleanup_ctx.append(self._connected)
        return made

    async def _connected(self, _: web.Application) -> AsyncIterator[None]:
        limit = aiohttp.ClientTimeout(total=LIMIT_S)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=limit) as client:
            self._client = client
            yield

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        at_home = self._in_flight < self._most
        self._in_flight += at_home
        try:
            return await self._passed_on(request, body, self._home if at_home else self._cloud)
        finally:
            self._in_flight -= at_home

    async def _passed_on(self, request: web.Request, body: dict[str, object], place: Place) -> web.StreamResponse:
        if self._client is None:
            raise web.HTTPServiceUnavailable
        headers = {"authorization": f"Bearer {place.key}"} if place.key else {}
        asked = self._client.post(f"{place.url}{PATH}", json=body | {"model": place.model}, headers=headers)
        async with asked as found:
            kind = {"content-type": found.headers.get("content-type", "application/json")}
            response = web.StreamResponse(status=found.status, headers=kind)
            await response.prepare(request)
            async for piece in found.content.iter_any():
                await response.write(piece)
        await response.write_eof()
        return response


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.rivals.threshold", description=__doc__)
    parser.add_argument("--most", type=int, required=True, help="in flight at home")
    for place in ("home", "cloud"):
        parser.add_argument(f"--{place}", nargs=3, required=True, metavar=("URL", "MODEL", "KEY"))
    return parser


def main() -> int:
    """Serve until told to stop."""
    options = _parser().parse_args()
    listener = listening(0)
    threshold = Threshold(options.most, Place(*options.home), Place(*options.cloud))
    announce = f"threshold at {url_of(listener)}/v1"
    asyncio.run(serve(threshold.application(), listener, lambda: print(announce, flush=True)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
