"""The router's own decisions, imported: `router.spilling.sluice` told what a router would be told, and obeyed.

It never sees how long an answer will be, nor the inside of an engine: first tokens, last tokens and their counts are
what passes through a router, speeds and lengths are learned from them, and it begins with two rates of the engine.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

from benchmarks.price import Price
from benchmarks.simulator.sequence import Request
from benchmarks.simulator.world import Kind as Event
from benchmarks.simulator.world import World
from router.spilling.lengths import Kind, Lengths
from router.spilling.load import EngineLoad
from router.spilling.misses import Misses
from router.spilling.sluice import Sluice
from router.spilling.speeds import Speeds, Tempo
from router.spilling.twin import Twin
from router.spilling.want import Want

# Of one request that is alone: what a lock file says of an engine.
PROMPT_TOKENS, CONTEXT_TOKENS = 1024, 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """What the twin asks, also for answers whose length is a guess."""

    price: Price

    def usd(self, prompt_tokens: float, answer_tokens: float) -> float:
        """Of one request."""
        input_usd, output_usd = self.price.input_usd_per_mtok, self.price.output_usd_per_mtok
        return (prompt_tokens * input_usd + answer_tokens * output_usd) / 1e6


class Sluiced:
    """Carries out what the sluice decides."""

    world: World
    sluice: Sluice

    def __init__(self) -> None:
        self._lengths = Lengths()
        self._twin = Twin()
        self._look_s = math.inf

    def attach(self, world: World) -> None:
        """Once, before anything comes."""
        self.world = world
        promise, steps = world.promise, world.steps
        given = Tempo.given(
            PROMPT_TOKENS / steps.prefill_s(PROMPT_TOKENS),
            1 / steps.decode_s(1, CONTEXT_TOKENS),
            world.setting.engine.max_batched_tokens,
        )
        loads: dict[Hashable, EngineLoad] = {
            engine: EngineLoad(
                Speeds(given),
                world.engine(engine).kv_tokens,
                most_sequences=world.setting.engine.max_sequences,
                tpot_s=promise.tpot_s,
            )
            for engine in range(world.engine_count)
        }
        misses = Misses(promise.share)
        self.sluice = Sluice(lambda tier: misses)
        self.sluice.stand(loads)
        self._price = Asked(world.setting.cloud.price)

    def arrived(self, request: Request, now_s: float) -> None:
        """A request is there."""
        if not any(self.world.fits(request, engine) for engine in range(self.world.engine_count)):
            self.world.cloud(request)
            return
        lengths = self._lengths.sample(_kind(request))
        want = Want(
            key=request,
            arrived_s=now_s,
            prompt_tokens=request.prompt_tokens,
            ttft_s=self.world.promise.ttft_s,
            tpot_s=self.world.promise.tpot_s,
            lengths=lengths,
            worth=self.sluice.worth(request.prompt_tokens, lengths, self._price),
            price=self._price,
            twin=self._twin,
        )
        self.sluice.arrive(want, now_s)

    def happened(self, kind: Event, request: Request, engine: int, now_s: float) -> None:
        """Its first token or its last has passed."""
        if not any(self.world.fits(request, each) for each in range(self.world.engine_count)):
            return
        if kind == "first":
            if request.place == "cloud":
                self._learn(request, now_s)
            self.sluice.began(request, now_s)
        else:
            self.sluice.ended(request, request.output_tokens, now_s)
            self._lengths.learn(_kind(request), request.output_tokens)

    def _learn(self, request: Request, now_s: float) -> None:
        """Of two calls the one that was not heard is left."""
        sent_s, again_s = request.sent_s, request.again_s
        assert sent_s is not None
        if again_s is None:
            self._twin.learn(now_s - sent_s)
            return
        first_s, second_s = now_s - sent_s, now_s - again_s
        heard_s, left_s = (second_s, first_s) if request.came_again else (first_s, second_s)
        self._twin.learn(heard_s)
        self._twin.outlasted(left_s)

    def act(self, now_s: float) -> None:
        """What is decided is done at once."""
        for placed in self.sluice.decide(now_s):
            request = placed.want.key
            assert isinstance(request, Request)
            request.expected_ttft_s = placed.expected_ttft_s
            if placed.engine is None:
                self.world.cloud(request, placed.again_s)
            else:
                assert isinstance(placed.engine, int)
                self.world.local(request, placed.engine)
        look_s = self.sluice.next_look_s(now_s)
        if look_s < math.inf and not now_s < self._look_s <= look_s:
            self._look_s = look_s
            self.world.timer(look_s)


def _kind(request: Request) -> Kind:
    return Kind(tenant=request.tenant or "", prompt_tokens=request.prompt_tokens)
