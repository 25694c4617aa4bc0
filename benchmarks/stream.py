"""One measured request: send it, read the answer as it comes, and say what happened as a Sample.

The one door to the endpoint under test. It must not know why a request is sent or what the samples are for.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

OK = 200
DATA = b"data:"


@dataclass(frozen=True, slots=True)
class Sample:
    """What one request met. `ttft_s` ends with the first content; `error` is None only for a complete answer."""

    status: int
    e2e_s: float
    ttft_s: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str | None = None
    target: str = ""
    reason: str = ""
    tier: str = ""
    retry_after_s: float | None = None
    error: str | None = None


def session(connections: int, key: str | None = None, limit_s: float = 300.0) -> aiohttp.ClientSession:
    """A client that keeps up to so many connections open and waits at most `limit_s` for an answer."""
    return aiohttp.ClientSession(
        # Servers commonly close idle connections after five seconds; a request must not meet that moment.
        connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=2.0),
        headers={} if key is None else {"authorization": f"Bearer {key}"},
        timeout=aiohttp.ClientTimeout(total=limit_s),
    )


async def ask(
    client: aiohttp.ClientSession, url: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Sample:
    """Send one chat request to `url` (with `/v1`) and read it to its end. Never raises for what the server does."""
    reading = _Reading()
    facts: dict[str, Any] = {}
    status = 0
    try:
        async with client.post(f"{url}/chat/completions", json=body, headers=headers) as response:
            status, facts = response.status, _facts(response)
            await reading.take(response)
    except (TimeoutError, aiohttp.ClientError) as error:
        reading.error = f"{type(error).__name__}: {error}"
    return replace(reading.sample(status), **facts)


def _facts(response: aiohttp.ClientResponse) -> dict[str, Any]:
    names = ("target", "reason", "tier")
    facts: dict[str, Any] = {name: response.headers.get(f"x-spillway-{name}", "") for name in names}
    try:
        facts["retry_after_s"] = float(response.headers["retry-after"])
    except (KeyError, ValueError):
        facts["retry_after_s"] = None
    return facts


class _Reading:
    """What has been read of one answer so far, timed from its making."""

    def __init__(self) -> None:
        self.error: str | None = None
        self._started = time.perf_counter()
        self._ttft_s: float | None = None
        self._finish_reason: str | None = None
        self._usage: Mapping[str, int] = {}

    async def take(self, response: aiohttp.ClientResponse) -> None:
        if response.status == OK and response.content_type == "text/event-stream":
            await self._follow(response.content)
        else:
            self._take_whole(response.status, await response.read())

    def sample(self, status: int) -> Sample:
        unfinished = None if self._finish_reason else "the answer has no finish reason"
        return Sample(
            status=status,
            e2e_s=time.perf_counter() - self._started,
            ttft_s=self._ttft_s,
            prompt_tokens=self._usage.get("prompt_tokens", 0),
            completion_tokens=self._usage.get("completion_tokens", 0),
            finish_reason=self._finish_reason,
            error=self.error or unfinished,
        )

    async def _follow(self, content: aiohttp.StreamReader) -> None:
        ended = False
        async for line in content:
            data = line.removeprefix(DATA).strip()
            if data == b"[DONE]":
                ended = True
            elif line.startswith(DATA):
                self._take_event(data)
        if not ended and self.error is None:
            self.error = "the stream ended without [DONE]"

    def _take_whole(self, status: int, body: bytes) -> None:
        self._take_event(body)
        # A whole answer has no first token of its own.
        self._ttft_s = None
        if status != OK and self.error is None:
            self.error = body[:200].decode(errors="replace")

    def _take_event(self, data: bytes) -> None:
        try:
            event = json.loads(data)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            self.error = f"not a JSON object: {data[:80]!r}"
            return
        if "error" in event:
            error = event["error"]
            self.error = str(error.get("message") if isinstance(error, dict) else error)
            return
        self._usage = event.get("usage") or self._usage
        for choice in event.get("choices", ()):
            said = choice.get("delta") or choice.get("message") or {}
            if self._ttft_s is None and (said.get("content") or said.get("reasoning_content")):
                self._ttft_s = time.perf_counter() - self._started
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
