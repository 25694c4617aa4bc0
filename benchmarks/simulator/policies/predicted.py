"""TTFT and TPOT predicted from the router's own ledger, decided at arrival; and the same with late binding.

The ledger is exact: a router knows which prompts have no first token yet, and counts the chunks of those that stream.
So what the engine says of itself this moment is read instead of counting it a second time. Speeds are the engine's
own, as measured; how long answers will be is not known.
"""

from __future__ import annotations

import math
from collections import deque

from benchmarks.simulator.policies.plain import Local
from benchmarks.simulator.sequence import Request
from benchmarks.simulator.world import Kind, World

# Over how long the rates are averaged at which KV tokens are given back and prompts come.
AVERAGED_S = 8.0
# A prompt's time is read off at this length.
PROMPT_TOKENS = 1024
# Until answers have been seen, KV tokens come back at this rate a second.
LEAST_FREED_PER_S = 500.0
# So many tokens of prompts an engine may have before it when it is given one that waits: about one step.
UNPREFILLED = 2048


class Flow:
    """Tokens a second of late: a sum that fades."""

    def __init__(self) -> None:
        self._tokens, self._at_s = 0.0, 0.0

    def add(self, tokens: float, now_s: float) -> None:
        """So many passed now."""
        self._tokens = self._faded(now_s) + tokens
        self._at_s = now_s

    def per_s(self, now_s: float) -> float:
        """As it is now."""
        return self._faded(now_s) / AVERAGED_S

    def _faded(self, now_s: float) -> float:
        return self._tokens * math.exp((self._at_s - now_s) / AVERAGED_S)


class Predicted(Local):
    """The engine with the least TTFT predicted takes the request where both promises would be kept; else the cloud.

    `ttft_share`: of the promised TTFT, what may be predicted. `head`: tokens kept free for the growth of each answer.
    """

    def __init__(self, ttft_share: float = 0.5, head: float = 30) -> None:
        self.ttft_share, self.head = ttft_share, head
        self._freed: list[Flow] = []
        self._prompts: list[Flow] = []
        self._prompt_s = 0.0

    def attach(self, world: World) -> None:
        """Once, before anything comes."""
        super().attach(world)
        self._freed = [Flow() for _ in range(world.engine_count)]
        self._prompts = [Flow() for _ in range(world.engine_count)]
        self._prompt_s = world.steps.prefill_s(PROMPT_TOKENS) / PROMPT_TOKENS

    def arrived(self, request: Request, now_s: float) -> None:
        """A request is there."""
        world = self.world
        engines = [engine for engine in range(world.engine_count) if world.fits(request, engine)]
        ttft_s, engine = min(((self.ttft_s(request, each, now_s), each) for each in engines), default=(math.inf, 0))
        kept = ttft_s <= self.ttft_share * world.promise.ttft_s
        if kept and self.tpot_s(request, engine, now_s) <= world.promise.tpot_s:
            self.place(request, engine, now_s)
        else:
            world.cloud(request)

    def happened(self, kind: Kind, request: Request, engine: int, now_s: float) -> None:
        """An answer that ends here gives its room back."""
        if kind == "end" and engine >= 0:
            self._freed[engine].add(request.prompt_tokens + request.output_tokens, now_s)

    def place(self, request: Request, engine: int, now_s: float) -> None:
        """It goes there now."""
        self._prompts[engine].add(request.prompt_tokens, now_s)
        self.world.local(request, engine)

    def ttft_s(self, request: Request, engine: int, now_s: float) -> float:
        """The prompts before it and its own, and the wait for room at the rate at which room came of late."""
        there = self.world.engine(engine)
        short = self.wanted_tokens(request, engine) - there.kv_tokens
        waits_s = short / max(self._freed[engine].per_s(now_s), LEAST_FREED_PER_S) if short > 0 else 0.0
        return waits_s + (there.unprefilled_tokens + request.prompt_tokens) * self._prompt_s

    def tpot_s(self, request: Request, engine: int, now_s: float) -> float:
        """A step with it in the batch, made longer by the prompts that come between."""
        there = self.world.engine(engine)
        step_s = self.world.steps.decode_s(self.world.in_flight[engine] + 1, there.kv_used_tokens)
        busy = (self._prompts[engine].per_s(now_s) + request.prompt_tokens / AVERAGED_S) * self._prompt_s
        return step_s / (1 - busy) if busy < 1 else math.inf

    def wanted_tokens(self, request: Request, engine: int) -> float:
        """KV that is held there, that prompts sent there wait for, and that it and the growth of all would take."""
        there = self.world.engine(engine)
        held = there.kv_used_tokens + there.queued_tokens + request.prompt_tokens
        return held + self.head * (self.world.in_flight[engine] + 1)


class Held(Predicted):
    """A request waits in the router until an engine has room for its prompt, at most `hold_s`; then the cloud has it.

    An engine is given a prompt while it has little of others to compute, so that a prompt waits where it still can
    go elsewhere.
    """

    def __init__(self, hold_s: float = 1.0, head: float = 30) -> None:
        super().__init__(head=head)
        self.hold_s = hold_s
        self._queue: deque[Request] = deque()

    def arrived(self, request: Request, now_s: float) -> None:
        """A request is there."""
        if any(self.world.fits(request, engine) for engine in range(self.world.engine_count)):
            self._queue.append(request)
            self.world.timer(now_s + self.hold_s)
        else:
            self.world.cloud(request)

    def act(self, now_s: float) -> None:
        """Whoever fits goes, in the order of arrival; one that does not fit keeps no smaller one from it."""
        if not self._queue:
            return
        kept: deque[Request] = deque()
        # Where a prompt finds no room, none that is as long does: each placed since took some.
        refused_tokens = math.inf
        for request in self._queue:
            engine = self.free(request, now_s) if request.prompt_tokens < refused_tokens else None
            if engine is not None:
                self.place(request, engine, now_s)
                continue
            refused_tokens = min(refused_tokens, request.prompt_tokens)
            if now_s - request.arrival_s >= self.hold_s - 1e-9:
                self.world.cloud(request)
            else:
                kept.append(request)
        self._queue = kept

    def free(self, request: Request, now_s: float) -> int | None:
        """The engine with the least to compute before it, of those with room."""
        found: tuple[float, float, int] | None = None
        for engine in range(self.world.engine_count):
            there = self.world.engine(engine)
            waits = there.unprefilled_tokens
            if waits and waits + request.prompt_tokens > UNPREFILLED:
                continue
            wanted = self.wanted_tokens(request, engine)
            if wanted > there.kv_tokens or self.tpot_s(request, engine, now_s) > self.world.promise.tpot_s:
                continue
            found = min(found or (waits, wanted, engine), (waits, wanted, engine))
        return None if found is None else found[2]
