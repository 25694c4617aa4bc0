"""The fake engine: a process that looks like vLLM over HTTP, for speed and for faults on purpose.

The HTTP side: reads requests, refuses or relays tokens, shows health and metrics. `EngineLoop` decides who gets
tokens; it must not know HTTP. Nothing here computes an answer: words come from one fixed sentence.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from enum import StrEnum
from itertools import cycle, islice

from aiohttp import web

from benchmarks import batch
from benchmarks.batch import Limits
from benchmarks.engine_loop import EngineLoop
from benchmarks.exposition import CONTENT_TYPE, exposition
from benchmarks.loopback import listening, serve, url_of
from benchmarks.prefix_cache import PrefixCache
from benchmarks.switch import Switch, SwitchError, read_switch
from benchmarks.wire import (
    DONE,
    Answer,
    BodyError,
    Kind,
    Question,
    Usage,
    encoded,
    error_json,
    event,
    models_json,
    read_question,
)

TEXT = "The fake engine answers with one sentence over and over until its tokens are used up."


class Mode(StrEnum):
    """The switches of the fake engine."""

    OK = "ok"
    DIE = "die"
    DIE_AFTER_TOKENS = "die_after_tokens"
    STALL = "stall"
    HANG = "hang"
    BUSY = "503"
    BROKEN = "500"
    ABORT = "abort"
    ERROR_IN_STREAM = "error_in_stream"
    SLOW_FIRST_TOKEN = "slow_first_token"


class Engine:
    """The HTTP face. The one writer of the switch."""

    def __init__(
        self, models: Sequence[str], limits: Limits, answer_tokens: int, *, lengths_by_seed: bool = False
    ) -> None:
        """As vLLM it answers to several names, and speaks of itself by the first."""
        self._models = models
        self._model = models[0]
        self._limits = limits
        self._answer_tokens = answer_tokens
        self._lengths_by_seed = lengths_by_seed
        self._switch = Switch()
        self._prefixes = PrefixCache(limits.prefix_cache_tokens)
        self.loop = EngineLoop(limits)

    def application(self) -> web.Application:
        """All addresses of the process."""
        made = web.Application(client_max_size=64 * 2**20)
        made.add_routes(
            [
                web.post("/v1/chat/completions", self._chat),
                web.post("/v1/completions", self._text),
                web.get("/v1/models", self._list_models),
                web.get("/health", self._health),
                web.get("/metrics", self._metrics),
                web.post("/_switch", self._set_switch),
                web.get("/_stats", self._stats),
            ]
        )
        made.cleanup_ctx.append(self._running)
        return made

    async def _running(self, _: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self.loop.run())
        yield
        task.cancel()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, Kind.CHAT)

    async def _text(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, Kind.TEXT)

    async def _generate(self, request: web.Request, kind: Kind) -> web.StreamResponse:
        try:
            question = read_question(kind, await request.read())
        except BodyError as error:
            return _error(400, str(error), "Bad Request", error.param)
        if (refusal := self._unfit(question)) is not None:
            return refusal
        switch, self._switch = self._switch.take()
        if (refusal := _refusal(switch, question)) is not None:
            return refusal
        wanted, reason = self._length(question)
        name = uuid.uuid4().hex
        answer = Answer(kind, f"{'chatcmpl' if kind is Kind.CHAT else 'cmpl'}-{name}", int(time.time()), self._model)
        if switch.mode == Mode.ABORT:
            wanted, reason = 0, "abort"
        # Closed as soon as we leave, so that the engine never makes tokens for a client that has gone.
        cached_tokens = min(self._prefixes.read(question.text), question.prompt_tokens - 1)
        sequence = batch.Sequence(name, question.prompt_tokens, wanted, reason, cached_tokens=cached_tokens)
        async with aclosing(self._tokens(sequence, switch)) as said:
            if question.stream:
                return await _stream(request, question, answer, reason, (said, switch))
            text = "".join([token async for token in said])
        return web.json_response(answer.whole(text, reason, Usage(question.prompt_tokens, wanted)))

    def _unfit(self, question: Question) -> web.Response | None:
        context = self._limits.context_tokens
        if question.model not in self._models:
            return _error(404, f"The model `{question.model}` does not exist.", "NotFoundError", "model")
        if question.prompt_tokens >= context:
            said = f"This model's maximum context length is {context} tokens, and {question.prompt_tokens} were given."
            return _error(400, said, "BadRequestError", "input_tokens")
        if (question.max_tokens or 0) > context:
            return _error(400, f"max_tokens must be at most {context}.", "BadRequestError", "max_tokens")
        return None

    def _length(self, question: Question) -> tuple[int, str]:
        """Answer tokens and finish reason; like vLLM, too large a `max_tokens` is cut to the room that is left."""
        room = self._limits.context_tokens - question.prompt_tokens
        limit = min(room, question.max_tokens or room)
        natural = limit if question.ignore_eos else self._answer_tokens
        if self._lengths_by_seed and question.seed is not None:
            natural = question.seed
        return min(natural, limit), "stop" if natural < limit else "length"

    async def _tokens(self, sequence: batch.Sequence, switch: Switch) -> AsyncGenerator[str, None]:
        """The words of an answer as the engine makes them; ends early only when the client goes."""
        if not sequence.wanted:
            self.loop.count_finished(sequence.reason)
            return
        if switch.mode == Mode.SLOW_FIRST_TOKEN:
            await asyncio.sleep(switch.seconds)
        words = islice(cycle(TEXT.split()), sequence.wanted)
        tokens = self.loop.submit(sequence)
        try:
            for index, word in enumerate(words):
                await tokens.get()
                if switch.mode == Mode.STALL and index >= switch.after:
                    await asyncio.Event().wait()
                yield word if index == 0 else f" {word}"
        finally:
            self.loop.withdraw(sequence.id)

    async def _list_models(self, _: web.Request) -> web.Response:
        context = self._limits.context_tokens
        return web.json_response(models_json(self._models, "vllm", root=self._model, max_model_len=context))

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _metrics(self, _: web.Request) -> web.Response:
        cache = self._prefixes
        totals = replace(self.loop.totals(), prefix_queries=cache.queried_tokens, prefix_hits=cache.hit_tokens)
        page = exposition(self._model, self._limits, self.loop.gauges, totals)
        return web.Response(body=page.encode(), headers={"content-type": CONTENT_TYPE})

    async def _stats(self, _: web.Request) -> web.Response:
        totals, now = self.loop.totals(), self.loop.batch
        return web.json_response(
            {
                "running": len(now.running),
                "waiting": len(now.waiting),
                "kv_tokens": now.kv_tokens,
                "prompt_tokens": totals.prompt_tokens,
                "completion_tokens": totals.generation_tokens,
                "preemptions": totals.preemptions,
                "finished": dict(totals.finished),
                "aborted": totals.finished["abort"],
                "mode": self._switch.mode,
            }
        )

    async def _set_switch(self, request: web.Request) -> web.Response:
        try:
            switch = read_switch(await request.read(), list(Mode))
        except SwitchError as error:
            return web.json_response({"error": str(error)}, status=400)
        # Four modes concern the whole engine; the others wait in the switch for a request.
        self.loop.set_hanging(switch.mode == Mode.HANG)
        if switch.mode == Mode.DIE:
            os._exit(switch.exit_code)
        if switch.mode == Mode.DIE_AFTER_TOKENS:
            self.loop.die_after(switch.after, switch.exit_code)
        self._switch = switch
        return web.json_response({"mode": switch.mode, "for_requests": switch.for_requests})


async def _stream(
    request: web.Request, question: Question, answer: Answer, reason: str, source: tuple[AsyncIterator[str], Switch]
) -> web.StreamResponse:
    said, switch = source
    response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
    # vLLM sends the headers at once and the role chunk with the first token.
    await response.prepare(request)
    opening = answer.opening()
    head = b"" if opening is None else event(opening)
    made = 0
    async for token in said:
        if switch.mode == Mode.ERROR_IN_STREAM and made >= switch.after:
            failure = "EngineCore encountered an issue. See stack trace (above) for the root cause."
            await response.write(event(error_json(failure, "InternalServerError", 500)) + DONE)
            return response
        await response.write(head + event(answer.piece(token)))
        head = b""
        made += 1
    tail = head + event(answer.closing(reason))
    if question.include_usage:
        tail += event(answer.tally(Usage(question.prompt_tokens, made)))
    await response.write(tail + DONE)
    await response.write_eof()
    return response


def _refusal(switch: Switch, question: Question) -> web.Response | None:
    if switch.mode == Mode.BUSY:
        return _error(503, "The engine is currently busy, please retry later.", "Service Unavailable")
    if switch.mode == Mode.BROKEN or (switch.mode == Mode.ERROR_IN_STREAM and not question.stream):
        return _error(500, "The server had an error while processing your request.", "InternalServerError")
    return None


def _error(status: int, message: str, error_type: str, param: str | None = None) -> web.Response:
    body = encoded(error_json(message, error_type, status, param))
    return web.Response(status=status, body=body, content_type="application/json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    limits = Limits()
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port; the address is printed")
    parser.add_argument("--model", default="tiny", help="the served name (%(default)s)")
    parser.add_argument("--context", type=int, default=limits.context_tokens, help="tokens (%(default)s)")
    parser.add_argument("--kv-tokens", type=int, default=limits.kv_tokens, help="KV capacity (%(default)s)")
    parser.add_argument("--max-num-seqs", type=int, default=limits.max_num_seqs, help="(%(default)s)")
    parser.add_argument("--prefill-tokens-per-s", type=float, default=limits.prefill_tokens_per_s, help="(%(default)s)")
    parser.add_argument("--step-ms", type=float, default=limits.step_s * 1000, help="time of a step (%(default)s)")
    parser.add_argument("--prefix-cache-tokens", type=int, default=0, help="kept of prompts; 0 is none (%(default)s)")
    parser.add_argument("--answer-tokens", type=int, default=64, help="length where nothing limits it (%(default)s)")
    parser.add_argument("--lengths-by-seed", action="store_true", help="an answer has the tokens that `seed` says")


def main(options: argparse.Namespace) -> int:
    """Serve until told to stop. Raises ValueError or PortTaken with a sentence."""
    if options.context > options.kv_tokens:
        raise ValueError(f"--context {options.context} does not fit into --kv-tokens {options.kv_tokens}.")
    if min(options.context, options.max_num_seqs, options.prefill_tokens_per_s, options.answer_tokens) <= 0:
        raise ValueError("--context, --max-num-seqs, --prefill-tokens-per-s and --answer-tokens must be above zero.")
    limits = Limits(
        options.context,
        options.kv_tokens,
        options.max_num_seqs,
        options.prefill_tokens_per_s,
        options.step_ms / 1000,
        options.prefix_cache_tokens,
    )
    listener = listening(options.port)
    engine = Engine([options.model], limits, options.answer_tokens, lengths_by_seed=options.lengths_by_seed)
    announce = f"fake engine at {url_of(listener)}/v1"
    asyncio.run(serve(engine.application(), listener, lambda: print(announce, flush=True)))
    return 0
