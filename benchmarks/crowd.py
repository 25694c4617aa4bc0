"""A crowd of users in a closed loop: each asks, reads the answer to its end, thinks a little and asks again.

Who they are and when they stop is decided before (`Phase`, `mix`), or by whoever looks at the shots; the loop carries
it out and hands every finished request on as a Shot. It must not know what the shots are for.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import aiohttp

from benchmarks.stream import Sample, ask

TOO_MANY = 429
THINK_S = 0.15
MAX_TOKENS = 160
LOOK_S = 0.25

SUBJECTS = ("a river", "a lock gate", "the tide", "a reservoir", "an old mill", "heavy rain", "a dry summer", "ice")
QUESTIONS = (
    "What is {0} good for?",
    "Explain {0} to a child in two sentences.",
    "Name three things about {0}.",
    "Write a short note about {0} for a colleague.",
    "Who looks after {0}, and when?",
    "Compare {0} with a kitchen sink.",
    "Which tools would you take to {0}?",
    "Sum up what is known about {0}.",
)


@dataclass(frozen=True, slots=True)
class User:
    """What kind of requests one user sends."""

    tier: str
    local_only: bool = False

    def headers(self) -> dict[str, str]:
        """The hints for the router."""
        return {"x-spillway-tier": self.tier} | ({"x-spillway-privacy": "local-only"} if self.local_only else {})


@dataclass(frozen=True, slots=True)
class Phase:
    """So many streams for so long, and up to `patience_s` longer if what it is to show was not seen by then."""

    name: str
    seconds: float
    streams: int
    patience_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Shot:
    """One request of a user, with all its tries. `waited_s` was spent on tries that were refused with 429."""

    phase: str
    user: User
    started_s: float
    sample: Sample
    refusals: int = 0
    waited_s: float = 0.0

    @property
    def first_token_s(self) -> float | None:
        """From the first try to the first token, as the user sees it."""
        return None if self.sample.ttft_s is None else self.waited_s + self.sample.ttft_s


def mix(streams: int) -> list[User]:
    """60 % standard, 25 % bulk that must stay local, 15 % premium; every beginning of the list is about so mixed."""
    users = [User("standard"), User("bulk", local_only=True), User("premium")]
    shares = (0.60, 0.25, 0.15)
    taken = [0] * len(users)
    chosen: list[User] = []
    for count in range(1, streams + 1):
        index = max(range(len(users)), key=lambda each: (shares[each] * count - taken[each], -each))
        taken[index] += 1
        chosen.append(users[index])
    return chosen


def question(rng: random.Random) -> str:
    """One short question; their number is large enough that no prefix cache answers for the engine."""
    asked = rng.choice(QUESTIONS).format(rng.choice(SUBJECTS))
    return f"{asked} This is note {rng.randrange(10_000)}."


class Crowd:
    """Runs phases one after the other. The one writer of `started`, `shots` and `is_late`.

    `is_late` says that a phase goes on because what it is to show was not seen yet.
    """

    def __init__(self, client: aiohttp.ClientSession, url: str, model: str, seed: int = 1) -> None:
        self._client = client
        self._url = url
        self._model = model
        self._seed = seed
        self._began = time.perf_counter()
        self.started = 0
        self.is_late = False
        self.shots: list[Shot] = []

    @property
    def in_flight(self) -> int:
        """Requests that are being answered, or wait to try again."""
        return self.started - len(self.shots)

    @property
    def now_s(self) -> float:
        """Seconds since the crowd was made; the clock of every Shot."""
        return time.perf_counter() - self._began

    async def run(
        self,
        phases: Sequence[Phase],
        began: Callable[[Phase], None],
        is_seen: Callable[[Sequence[Phase]], bool] = lambda _: True,
    ) -> tuple[Phase, ...]:
        """All phases, and then each with the seconds that it took; `is_seen` is asked with those up to the present one.

        A user finishes what it has asked before it leaves, into the next phase if need be.
        """
        taken: list[Phase] = []
        async with asyncio.TaskGroup() as users:
            for phase in phases:
                began(phase)
                began_s, over = self.now_s, asyncio.Event()
                for number, user in enumerate(mix(phase.streams)):
                    users.create_task(self._live(phase, user, over, number))
                await asyncio.sleep(phase.seconds)
                await self._linger(self.now_s + phase.patience_s, partial(is_seen, (*taken, phase)))
                over.set()
                taken.append(replace(phase, seconds=self.now_s - began_s))
        return tuple(taken)

    async def _linger(self, ends_s: float, is_seen: Callable[[], bool]) -> None:
        """Until it is seen, or the patience is at its end."""
        while self.now_s < ends_s and not is_seen():
            self.is_late = True
            await asyncio.sleep(LOOK_S)
        self.is_late = False

    async def _live(self, phase: Phase, user: User, over: asyncio.Event, number: int) -> None:
        rng = random.Random(f"{self._seed}/{phase.name}/{number}")
        # Not all at the same moment: people do not come in step.
        await asyncio.sleep(rng.uniform(0.0, THINK_S))
        while not over.is_set():
            self.started += 1
            self.shots.append(await self._shoot(phase, user, over, rng))
            await asyncio.sleep(rng.expovariate(1 / THINK_S))

    async def _shoot(self, phase: Phase, user: User, over: asyncio.Event, rng: random.Random) -> Shot:
        """One request. After a 429 it is tried again when the router says, unless the phase is over by then."""
        started_s, refusals = self.now_s, 0
        body = self._body(rng)
        while True:
            tried_s = self.now_s
            sample = await ask(self._client, self._url, body, user.headers())
            if sample.status != TOO_MANY:
                return Shot(phase.name, user, started_s, sample, refusals, tried_s - started_s)
            refusals += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), sample.retry_after_s or 1.0)
            if over.is_set():
                return Shot(phase.name, user, started_s, sample, refusals, self.now_s - started_s)

    def _body(self, rng: random.Random) -> dict[str, Any]:
        return {
            "model": self._model,
            "messages": [{"role": "user", "content": question(rng)}],
            "max_tokens": MAX_TOKENS,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
