"""A process that stands in for the providers of clouds: each speaks its own wire format, on paths of its own.

`python -m tests.stand_in_provider` serves `/anthropic`, `/gemini` and, for every other provider, `/PROVIDER`, which is
the base URL that litellm is given. Under `/PROVIDER+MODE` it misbehaves. `GET /_asked` gives, and forgets, the requests
so far.
"""

from __future__ import annotations

import asyncio
import json
import sys
from types import ModuleType

from aiohttp import web

from benchmarks.loopback import listening, serve, url_of
from tests import provider_anthropic, provider_gemini, provider_openai
from tests.provider_words import HALF, Answer, Bad, Json, Mode, Question, Refusal, answer_to

KEY = "sk-test"
# So much of a stream is said before it breaks: past the first token.
HALF_WAY = 5
NAMED: dict[str, ModuleType] = {"anthropic": provider_anthropic, "gemini": provider_gemini}


class Provider:
    """The one writer of what was asked."""

    def __init__(self) -> None:
        self._asked: list[Json] = []

    def application(self) -> web.Application:
        made = web.Application(client_max_size=64 * 2**20)
        made.add_routes([web.get("/_asked", self._tell), web.post("/{provider}/{path:.+}", self._answer)])
        return made

    async def _tell(self, _: web.Request) -> web.Response:
        asked, self._asked = self._asked, []
        return web.json_response(asked)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        name, _, switched = request.match_info["provider"].partition("+")
        mode = Mode(switched or Mode.OK)
        body = await request.json()
        told = {each.lower(): value for each, value in request.headers.items()}
        self._asked.append({"path": request.path, "query": dict(request.query), "headers": told, "body": body})
        wire = NAMED.get(name, provider_openai)
        try:
            question: Question = wire.read(body, told, request.path)
        except Bad as error:
            return _refused(wire.bad(str(error)))
        if (refusal := _refusal(wire, name, mode, question, wire.key_of(told))) is not None:
            return _refused(refusal)
        if mode is Mode.HANG:
            await asyncio.Event().wait()
        if (whole := _without_answer(request, wire, mode, question)) is not None:
            return web.json_response(whole, headers=wire.headers(mode))
        answer = answer_to(question, mode)
        if question.stream:
            return await _streamed(request, wire, mode, question, answer)
        whole = wire.whole(question, answer)
        if mode in HALF:
            return await _half(request, json.dumps(whole).encode(), mode)
        return web.json_response(whole, headers=wire.headers(mode))


def _without_answer(request: web.Request, wire: ModuleType, mode: Mode, question: Question) -> Json | None:
    """What is said where nothing is generated: nothing at all, vectors, or that the prompt is blocked."""
    if mode is Mode.EMPTY:
        return {}
    if request.path.endswith(("/embeddings", ":batchEmbedContents")):
        vectors: Json = wire.embeddings(question)
        return vectors
    if wire is provider_gemini and mode is Mode.FILTERED:
        return provider_gemini.blocked(question)
    return None


def _refusal(wire: ModuleType, name: str, mode: Mode, question: Question, key: str | None) -> Refusal | None:
    mode = mode if key == KEY else Mode.BAD_KEY
    refusal: Refusal | None
    refusal = wire.refusal(mode, question, name) if wire is provider_openai else wire.refusal(mode, question)
    return refusal


def _refused(refusal: Refusal) -> web.Response:
    return web.json_response(refusal.body, status=refusal.status, headers=refusal.headers)


async def _streamed(
    request: web.Request, wire: ModuleType, mode: Mode, question: Question, answer: Answer
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"} | wire.headers(mode))
    await response.prepare(request)
    events = list(wire.events(question, answer))
    for event in events[:HALF_WAY] if mode in HALF else events:
        await response.write(event)
    if mode is Mode.ERROR_EVENT:
        await response.write(wire.error_event())
    elif mode is Mode.MALFORMED:
        await response.write(b'data: {"choices": [{"delta": {"cont\n\n')
    elif mode in HALF:
        await _break(request, mode)
        return response
    await response.write_eof()
    return response


async def _half(request: web.Request, body: bytes, mode: Mode) -> web.StreamResponse:
    """A whole answer of which only the first half comes: malformed where the length is that of the half."""
    if mode is Mode.MALFORMED:
        return web.Response(body=body[: len(body) // 2], content_type="application/json")
    response = web.StreamResponse(headers={"content-type": "application/json", "content-length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    await _break(request, mode)
    return response


async def _break(request: web.Request, mode: Mode) -> None:
    if mode is Mode.SILENT:
        await asyncio.Event().wait()
    if request.transport is not None:
        request.transport.close()


def main() -> int:
    """Serve until told to stop."""
    listener = listening(0)
    asyncio.run(serve(Provider().application(), listener, lambda: print(f"at {url_of(listener)}", flush=True)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
