"""The router's only mutable view of the world: newest snapshot, requests in flight, learned paces, spill state.

Single writer of all of it, synchronous, with the clock passed in. What it hands out is frozen.
"""

from __future__ import annotations

import math
import time
import uuid
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from engines.snapshot import Snapshot
from router.ask import Ask
from router.config import Rules
from router.fleet import Counts, Fleet, InFlight, Pace, Target, merge
from router.pace import Finished, learn
from router.policy import Decision, Latches, Money, choose, tokens_of

# Rest after the first failure in a row; it doubles with each further one.
REST_S = 1.0
LONGEST_REST_S = 30.0
DECISIONS_KEPT = 200


@dataclass(slots=True, eq=False)
class Flight:
    """One attempt under way. Written by Watch only."""

    id: str
    target: Target
    streams: bool
    prompt_bytes: int
    prompt_tokens: float
    promised_tokens: float
    queued_tokens: float
    was_full: bool
    sent_at_s: float
    first_token_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the target counted them."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class _Rest:
    failures: int
    until_s: float
    cause: str

    @property
    def next_s(self) -> float:
        # Bounded before the power is taken, which would grow beyond every float.
        return REST_S * 2.0 ** min(self.failures, 10)


class Watch:
    """Newest snapshot, flights, paces, rests and spill state."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.cloud_off: dict[str, str] = {}
        self.decisions: deque[dict[str, object]] = deque(maxlen=DECISIONS_KEPT)
        self._snapshot: Snapshot | None = None
        self._snapshot_at_s = -math.inf
        self._flights: dict[str, set[Flight]] = {}
        self._pace: dict[str, Pace] = {}
        self._last_full_end_s: dict[str, float] = {}
        self._rests: dict[str, _Rest] = {}
        self._spilling: dict[tuple[str, str], bool] = {}

    def __repr__(self) -> str:
        flights = sum(len(flights) for flights in self._flights.values())
        spilling = ",".join(f"{target}/{tier}" for (target, tier), on in self._spilling.items() if on)
        return f"<Watch engines={len(self._snapshot.engines) if self._snapshot else 0} {flights=} {spilling=}>"

    @property
    def snapshot(self) -> Snapshot | None:
        return self._snapshot

    @property
    def spilling(self) -> Latches:
        return dict(self._spilling)

    def snapshot_age_s(self, now_s: float) -> float:
        return now_s - self._snapshot_at_s

    def heard(self, snapshot: Snapshot, now_s: float) -> None:
        self._snapshot, self._snapshot_at_s = snapshot, now_s

    def now(self) -> Fleet:
        """The Fleet at this moment, for readers that have no clock of their own."""
        return self.view(time.monotonic())

    def view(self, now_s: float) -> Fleet:
        counts = Counts(
            in_flight={name: _in_flight(flights, now_s) for name, flights in self._flights.items()},
            pace=dict(self._pace),
            resting={name: rest.cause for name, rest in self._rests.items() if rest.until_s > now_s},
            cloud_off=self.cloud_off,
        )
        return merge(self._snapshot, self.snapshot_age_s(now_s), self.rules, counts)

    def decide(self, ask: Ask, money: Money, now_s: float) -> Decision:
        decision = choose(ask, self.view(now_s), self.rules, self._spilling, money)
        self._spilling.update(decision.spilling)
        return decision

    def start(self, ask: Ask, target: Target, now_s: float) -> Flight:
        """Count a request as in flight at `target`. Ends with `finish`, whatever happens."""
        flights = self._flights.setdefault(target.name, set())
        before = _in_flight(flights, now_s)
        prompt_tokens, answer_tokens = tokens_of(ask, target)
        promised = prompt_tokens + answer_tokens
        capacity = target.load.kv_capacity_tokens if target.load else math.inf
        flight = Flight(
            id=uuid.uuid4().hex,
            target=target,
            streams=ask.stream,
            prompt_bytes=ask.prompt_bytes,
            prompt_tokens=prompt_tokens,
            promised_tokens=promised,
            queued_tokens=before.unstarted_tokens + prompt_tokens,
            was_full=before.promised_tokens + promised > capacity,
            sent_at_s=now_s,
        )
        flights.add(flight)
        return flight

    def first_token(self, flight: Flight, now_s: float) -> None:
        flight.first_token_at_s = now_s
        self._rests.pop(flight.target.name, None)

    def finish(self, flight: Flight, usage: Usage | None, now_s: float) -> None:
        """Take a flight out of the count and, if the target said what it used, learn from it."""
        name = flight.target.name
        self._flights[name].discard(flight)
        if usage is None or flight.first_token_at_s is None:
            return
        last_s = self._last_full_end_s.pop(name, None)
        since_last_s = now_s - last_s if last_s is not None and flight.was_full else None
        if flight.was_full:
            self._last_full_end_s[name] = now_s
        done = Finished(
            prompt_bytes=flight.prompt_bytes,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            queued_tokens=flight.queued_tokens,
            ttft_s=flight.first_token_at_s - flight.sent_at_s,
            e2e_s=now_s - flight.sent_at_s,
            streamed=flight.streams,
            was_full=flight.was_full,
            since_last_s=since_last_s,
            kv_capacity_tokens=flight.target.load.kv_capacity_tokens if flight.target.load else 0,
        )
        self._pace[name] = learn(self._pace.get(name, Pace()), done)

    def failed(self, flight: Flight, cause: str, retry_after_s: float | None, now_s: float) -> None:
        """Rest a target that failed: as long as it asks for, else longer with each failure in a row."""
        name = flight.target.name
        old = self._rests.get(name, _Rest(0, -math.inf, ""))
        if now_s < old.until_s and retry_after_s is None:
            # Requests that were under way together fail together: that is one failure.
            return
        rest_s = min(retry_after_s or old.next_s, LONGEST_REST_S)
        self._rests[name] = _Rest(old.failures + 1, max(old.until_s, now_s + rest_s), cause)


def _in_flight(flights: Collection[Flight], now_s: float) -> InFlight:
    """Answers that do not stream show no first token, so they count as promised work but never as a queue."""
    waiting = [flight for flight in flights if flight.streams and flight.first_token_at_s is None]
    return InFlight(
        requests=len(flights),
        promised_tokens=sum(flight.promised_tokens for flight in flights),
        unstarted=len(waiting),
        unstarted_tokens=sum(flight.prompt_tokens for flight in waiting),
        oldest_wait_s=max((now_s - flight.sent_at_s for flight in waiting), default=0.0),
    )
