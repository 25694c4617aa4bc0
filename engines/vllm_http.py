"""Talking HTTP to a running vLLM: is it alive, does it answer, what is its load. The only importer of aiohttp here.

Every foreign error becomes EngineSilentError. Knows nothing of processes and takes no decision.
"""

from __future__ import annotations

import aiohttp

HEALTH_S = 5.0
METRICS_S = 2.0
FIRST_TOKEN_S = 120.0
OK = 200


class EngineSilentError(Exception):
    """The engine did not answer as it should; the message says what came instead."""


class EngineHttp:
    """One HTTP client for all engines. Use as an async context manager."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> EngineHttp:
        self._session = aiohttp.ClientSession(trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()

    async def healthy(self, url: str) -> None:
        """Raises EngineSilentError unless /health answers 200."""
        await self._text("GET", f"{url}/health", HEALTH_S)

    async def metrics(self, url: str) -> str:
        """The /metrics page."""
        return await self._text("GET", f"{url}/metrics", METRICS_S)

    async def completes(self, url: str, model: str) -> None:
        """Raises EngineSilentError unless the engine makes a token. /health alone is 200 even for a hung engine."""
        body = {"model": model, "prompt": "Hello", "max_tokens": 1, "temperature": 0.0}
        await self._text("POST", f"{url}/v1/completions", FIRST_TOKEN_S, body)

    async def _text(self, method: str, url: str, limit_s: float, body: dict[str, object] | None = None) -> str:
        if self._session is None:
            raise EngineSilentError("the HTTP client is closed")
        limit = aiohttp.ClientTimeout(total=limit_s)
        try:
            async with self._session.request(method, url, json=body, timeout=limit) as response:
                text = await response.text()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise EngineSilentError(f"{method} {url}: {error or type(error).__name__}") from error
        if response.status != OK:
            raise EngineSilentError(f"{method} {url}: status {response.status}: {text[:200]}")
        return text
