"""The stand-in cloud: an OpenAI-compatible process on loopback with a price, a latency and switches for faults.

It plays the replies that `cloud_reply` works out and counts what they cost. It must not know who calls it.
"""

from __future__ import annotations

import argparse
import asyncio
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

from benchmarks.allowance import Allowance, Bound, Window
from benchmarks.cloud_reply import Ending, Mode, Pace, Reply, bad_body, over_limit, reply, unauthorized, unknown_model
from benchmarks.loopback import listening, serve, url_of
from benchmarks.price import Price
from benchmarks.switch import Switch, SwitchError, read_switch
from benchmarks.wire import BodyError, Kind, models_json, read_question


@dataclass(slots=True)
class Counts:
    """What the process has done since it started; only Cloud writes it."""

    requests: int = 0
    streams: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    aborted: int = 0
    by_status: dict[str, int] = field(default_factory=dict)


# The count of each key that is accepted, None where there is no limit.
Keys = Mapping[str, Allowance | None]


class Cloud:
    """The one writer of the switch and the counts."""

    def __init__(self, pace: Pace, price: Price, keys: Keys, models: tuple[str, ...]) -> None:
        self._pace = pace
        self._price = price
        self._keys = keys
        self._models = models
        self._switch = Switch()
        self._counts = Counts()

    def application(self) -> web.Application:
        """All addresses of the process."""
        made = web.Application(client_max_size=64 * 2**20)
        made.add_routes(
            [
                web.post("/v1/chat/completions", self._chat),
                web.post("/v1/completions", self._text),
                web.get("/v1/models", self._list_models),
                web.post("/_switch", self._set_switch),
                web.get("/_stats", self._show_stats),
            ]
        )
        return made

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, Kind.CHAT)

    async def _text(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, Kind.TEXT)

    async def _answer(self, request: web.Request, kind: Kind) -> web.StreamResponse:
        self._counts.requests += 1
        number = self._counts.requests
        planned, prompt_tokens = self._planned(request, kind, await request.read(), number)
        self._counts.by_status[str(planned.status)] = self._counts.by_status.get(str(planned.status), 0) + 1
        try:
            return await self._play(request, planned, prompt_tokens)
        except (asyncio.CancelledError, ConnectionError):
            self._counts.aborted += 1
            raise

    def _planned(self, request: web.Request, kind: Kind, body: bytes, number: int) -> tuple[Reply, int]:
        """The reply, and the prompt tokens to be paid when its first byte goes out."""
        if (refusal := self._locked(request) or self._over(request)) is not None:
            return refusal, 0
        try:
            question = read_question(kind, body)
        except BodyError as error:
            return bad_body(error), 0
        # A mode for one request travels in the model name ("stand-in+cut") or in a header; both leave the switch alone.
        name, _, suffix = question.model.partition("+")
        if name not in self._models:
            return unknown_model(name, self._models), 0
        mode = request.headers.get("x-stand-in-mode") or suffix
        if mode in set(Mode):
            switch = Switch(mode)
        else:
            switch, self._switch = self._switch.take()
        self._counts.streams += question.stream
        planned = reply(question, switch, self._pace, number, int(time.time()))
        return planned, question.prompt_tokens if planned.status == web.HTTPOk.status_code else 0

    def _locked(self, request: web.Request) -> Reply | None:
        key = _key_in(request)
        if key is None:
            return unauthorized(None)
        return None if key in self._keys else unauthorized(key)

    def _over(self, request: web.Request) -> Reply | None:
        """The refusal of a request beyond the limit of its key."""
        allowance = self._keys[_key_in(request) or ""]
        wait_s = allowance.take(time.time()) if allowance is not None else 0.0
        return over_limit(wait_s) if wait_s else None

    async def _play(self, request: web.Request, planned: Reply, prompt_tokens: int) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        started = due = loop.time()
        allowance = self._keys.get(_key_in(request) or "")
        limits = {} if allowance is None else allowance.headers(time.time())
        response = web.StreamResponse(status=planned.status, headers=_headers(planned) | limits)
        # Whoever hangs up while it is read pays for the prompt.
        self._counts.prompt_tokens += prompt_tokens
        # The due times are absolute: a slow write does not slow the stream down.
        for frame in planned.frames:
            due += frame.delay_s
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if not response.prepared:
                response.headers["openai-processing-ms"] = f"{(loop.time() - started) * 1000:.0f}"
                await response.prepare(request)
            self._counts.completion_tokens += frame.tokens
            await response.write(frame.data)
        return await _finished(request, response, planned.ending)

    async def _list_models(self, request: web.Request) -> web.StreamResponse:
        if (refusal := self._locked(request)) is not None:
            return await self._play(request, refusal, 0)
        return web.json_response(models_json(self._models, "stand-in-cloud"))

    async def _set_switch(self, request: web.Request) -> web.Response:
        try:
            self._switch = read_switch(await request.read(), list(Mode))
        except SwitchError as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"mode": self._switch.mode, "for_requests": self._switch.for_requests})

    async def _show_stats(self, _: web.Request) -> web.Response:
        counts = self._counts
        usd = self._price.usd(counts.prompt_tokens, counts.completion_tokens)
        return web.json_response(
            {
                "requests": counts.requests,
                "streams": counts.streams,
                "prompt_tokens": counts.prompt_tokens,
                "completion_tokens": counts.completion_tokens,
                "usd": usd,
                "aborted": counts.aborted,
                "by_status": counts.by_status,
                "mode": self._switch.mode,
            }
        )


def _key_in(request: web.Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key if scheme.lower() == "bearer" and key else None


def _headers(planned: Reply) -> dict[str, str]:
    return {
        "content-type": planned.content_type,
        "x-request-id": f"req_{uuid.uuid4().hex}",
        "openai-organization": "stand-in",
        "openai-version": "2020-10-01",
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "0" if planned.status == web.HTTPTooManyRequests.status_code else "9999",
        "x-ratelimit-reset-requests": "6ms",
        "x-ratelimit-limit-tokens": "2000000",
        "x-ratelimit-remaining-tokens": "1999000",
        "x-ratelimit-reset-tokens": "30ms",
    } | planned.headers


async def _finished(request: web.Request, response: web.StreamResponse, ending: Ending) -> web.StreamResponse:
    if ending is Ending.SILENT:
        await asyncio.Event().wait()
    if ending is Ending.CUT and request.transport is not None:
        request.transport.close()
        return response
    await response.write_eof()
    return response


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    pace = Pace()
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port; the address is printed")
    parser.add_argument("--model", action="append", help="a name to serve, may be given again (stand-in)")
    parser.add_argument("--key", action="append", help="an accepted API key, may be given again (sk-test)")
    parser.add_argument("--requests-per-minute", type=int, help="of each key; over it every request gets a 429")
    parser.add_argument("--window", choices=list(Window), default=Window.BUCKET, help="how it counts (%(default)s)")
    parser.add_argument("--ttft-s", type=float, default=pace.ttft_s, help="median time to first token (%(default)s)")
    parser.add_argument("--ttft-jitter", type=float, default=pace.ttft_jitter, help="lognormal sigma (%(default)s)")
    parser.add_argument("--tokens-per-s", type=float, default=pace.tokens_per_s, help="a stream's speed (%(default)s)")
    parser.add_argument("--words-per-delta", type=int, default=pace.words_per_delta, help="(%(default)s)")
    parser.add_argument("--input-usd-per-mtok", type=float, default=0.15, help="(%(default)s)")
    parser.add_argument("--output-usd-per-mtok", type=float, default=0.60, help="(%(default)s)")
    parser.add_argument("--lengths-by-seed", action="store_true", help="an answer has the tokens that `seed` says")
    parser.add_argument("--seed", type=int, default=pace.seed, help="repeats the same lengths and delays (%(default)s)")


def main(options: argparse.Namespace) -> int:
    """Serve until told to stop. Raises ValueError or PortTaken with a sentence."""
    if options.ttft_s < 0 or options.tokens_per_s <= 0 or options.words_per_delta < 1:
        raise ValueError("--ttft-s must not be negative; --tokens-per-s and --words-per-delta must be above zero.")
    pace = Pace(
        options.ttft_s,
        options.ttft_jitter,
        options.tokens_per_s,
        options.words_per_delta,
        options.seed,
        options.lengths_by_seed,
    )
    price = Price(options.input_usd_per_mtok, options.output_usd_per_mtok)
    listener = listening(options.port)
    most = options.requests_per_minute
    if most is not None and most < 1:
        raise ValueError("--requests-per-minute must be at least 1.")
    bound = None if most is None else Bound(most, Window(options.window))
    keys = {key: None if bound is None else Allowance(bound) for key in options.key or ["sk-test"]}
    cloud = Cloud(pace, price, keys, tuple(options.model or ["stand-in"]))
    announce = f"stand-in cloud at {url_of(listener)}/v1"
    asyncio.run(serve(cloud.application(), listener, lambda: print(announce, flush=True)))
    return 0
