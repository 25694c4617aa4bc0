"""A steady open load of small requests at the stage: streams and whole answers, of who may spill and who may not.

The one door to the router for the suite's requests. It must not know what is broken, nor what it means.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import aiohttp

from benchmarks.night.scenery import MAY_SPILL, MODEL, STAYS
from benchmarks.night.visit import OK, Question, Reply, Visit, body_of, judged, said_in

# Three of four may spill: what they see is what is promised.
MIX = ((MAY_SPILL, True), (MAY_SPILL, False), (MAY_SPILL, True), (STAYS, True), (MAY_SPILL, False), (STAYS, False))
PROMPTS = tuple(f"What is {thing}?" for thing in ("gravity", "jazz", "tax law", "inflation", "a black hole", "tea"))
TOKENS = 16
RATE = 8.0
# No request of the load waits longer than the router lets it.
LIMIT_S = 90.0
CONTENT = b'"content":"'
EMPTY = b'"content":""'


class Visitors:
    """The one writer of `visits`."""

    def __init__(self, url: str, known: Mapping[int, str]) -> None:
        """`known`: what the engine at home says to each prompt."""
        self._url, self._known = url, known
        self._client: aiohttp.ClientSession | None = None
        self._under_way: set[asyncio.Task[Visit]] = set()
        self.visits: list[Visit] = []

    async def __aenter__(self) -> Visitors:
        self._client = aiohttp.ClientSession(
            # As many short-lived clients: a router that died must not be met by a connection from before.
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=LIMIT_S),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._client:
            await self._client.close()

    async def come(self, rate: float = RATE, model: str = MODEL) -> None:
        """Until cancelled: requests at equal distances, whether or not those before are answered."""
        due_s = time.monotonic()
        for number, (tier, stream) in enumerate(cycle(MIX)):
            due_s += 1 / rate
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            self.send(Question(number % len(PROMPTS), tier, stream, TOKENS, model))

    def send(self, question: Question, prompt: str | None = None) -> asyncio.Task[Visit]:
        """One request, on its way."""
        task = asyncio.create_task(self._visit(question, prompt or PROMPTS[question.number]))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def leave(self, limit_s: float) -> int:
        """Wait for what is under way, so long at most; how many are without an answer then."""
        if self._under_way:
            await asyncio.wait(set(self._under_way), timeout=limit_s)
        return len(self._under_way)

    async def post(self, url: str, body: Mapping[str, Any]) -> None:
        """Turn a switch. Raises ValueError where it cannot be turned."""
        assert self._client is not None
        try:
            async with self._client.post(url, json=dict(body)) as answer:
                answer.raise_for_status()
        except (TimeoutError, aiohttp.ClientError) as error:
            raise ValueError(f"{url}: {error!r}") from error

    async def _visit(self, question: Question, prompt: str) -> Visit:
        visit = judged(question, await self.asked(question, prompt), self._known)
        self.visits.append(visit)
        return visit

    async def asked(self, question: Question, prompt: str) -> Reply:
        """What came back, unjudged and not counted."""
        assert self._client is not None
        started_s, first_s, body, status = time.monotonic(), None, b"", 0
        headers: Mapping[str, str] = {}
        broke = ""
        try:
            async with self._client.post(
                f"{self._url}/v1/chat/completions",
                data=json.dumps(body_of(question, prompt)),
                headers={"content-type": "application/json", "x-spillway-tier": question.tier},
            ) as response:
                status, headers = response.status, dict(response.headers)
                async for piece in response.content.iter_any():
                    body += piece
                    if first_s is None and _has_content(body):
                        first_s = time.monotonic()
        except (TimeoutError, aiohttp.ClientError) as error:
            broke = f"{type(error).__name__}: {error}"
        if status != OK or not question.stream:
            first_s = None
        return Reply(status, body, _lower(headers), started_s, first_s, time.monotonic(), broke)


async def learned(url: str, model: str = MODEL) -> dict[int, str]:
    """What the engine at home says to each prompt, asked one by one. Raises ValueError where it does not answer."""
    found: dict[int, str] = {}
    async with Visitors(url, {}) as asking:
        for number, prompt in enumerate(PROMPTS):
            question = Question(number, STAYS, False, TOKENS, model)
            reply = await asking.asked(question, prompt)
            if reply.status != OK:
                raise ValueError(f"the stack does not answer: status {reply.status} {reply.body[:200]!r} {reply.broke}")
            found[number] = said_in(reply.body, stream=False)[0]
    return found


def many(count: int, tier: str, tokens: int, model: str = MODEL) -> Sequence[Question]:
    """So many streams, all at once."""
    return [Question(number % len(PROMPTS), tier, True, tokens, model) for number in range(count)]


def _has_content(body: bytes) -> bool:
    return CONTENT in body.replace(EMPTY, b"")


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
