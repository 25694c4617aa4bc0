"""Talking HTTP to engines: a page, an answer, a stream of lines. The only importer of aiohttp here.

Every foreign error becomes EngineSilentError. Knows no engine, no process, and takes no decision.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from engines.kinds.wire import EngineSilentError, Wire

OK = 200


class EngineHttp(Wire):
    """One HTTP client for all engines. Use as an async context manager."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> EngineHttp:
        self._session = aiohttp.ClientSession(trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()

    async def get(self, url: str, limit_s: float, key: str | None = None) -> str:
        return await self._text("GET", url, limit_s, None, key)

    async def post(self, url: str, body: Mapping[str, Any] | None, limit_s: float, key: str | None = None) -> str:
        return await self._text("POST", url, limit_s, body, key)

    async def lines(self, url: str, body: Mapping[str, Any], silence_s: float) -> AsyncIterator[str]:
        limit = aiohttp.ClientTimeout(total=None, sock_connect=silence_s, sock_read=silence_s)
        try:
            async with self._open().post(url, json=body, timeout=limit) as response:
                if response.status != OK:
                    raise _refused("POST", url, response.status, await response.text())
                async for line in response.content:
                    yield line.decode("utf-8", "replace").rstrip("\n")
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise _silent("POST", url, error) from error

    async def _text(
        self, method: str, url: str, limit_s: float, body: Mapping[str, Any] | None, key: str | None
    ) -> str:
        limit = aiohttp.ClientTimeout(total=limit_s)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        try:
            async with self._open().request(method, url, json=body, timeout=limit, headers=headers) as response:
                text = await response.text()
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise _silent(method, url, error) from error
        if response.status != OK:
            raise _refused(method, url, response.status, text)
        return text

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            raise EngineSilentError("the HTTP client is closed")
        return self._session


def _silent(method: str, url: str, error: Exception) -> EngineSilentError:
    return EngineSilentError(f"{method} {url}: {error or type(error).__name__}")


def _refused(method: str, url: str, status: int, text: str) -> EngineSilentError:
    return EngineSilentError(f"{method} {url}: status {status}: {text[:200]}", status)
