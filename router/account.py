"""What one router process counts of one target: its requests in flight, its failures, its pace.

Kept up to date with each event, in whole numbers so that it never drifts, and never counted anew: a decision costs
the same however much is in flight. Written by `router.watch` only.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from msgspec.structs import replace

from engines.snapshot import EngineUse
from router.health import breaker
from router.health.breaker import UNPROVED, Fault, Proof, Trouble, together, verdict_of
from router.health.ejection import SILENT, silent_from_s
from router.health.verdict import WELL, Verdict
from router.routing.fleet import InFlight, Pace
from router.siblings import Row
from router.spilling.load import EngineLoad

UNKNOWN = Pace()


class Waiter(Protocol):
    """Whoever is in flight, as an account sees it. Two are the same only if they are one."""

    prompt_tokens: int
    sent_at_s: float


class Account:
    """Counts of one target, kept under `key` (see `Target.key`); `url` and `load` are None for a cloud.

    What `others` is in its methods: the rows of the sibling processes for the same target.
    """

    __slots__ = (
        "_proof",
        "_trouble",
        "_waiting",
        "_whole",
        "is_calm",
        "key",
        "last_full_end_s",
        "load",
        "pace",
        "promised_tokens",
        "requests",
        "unstarted_tokens",
        "url",
    )

    def __init__(self, key: str, url: str | None, pace: Pace = UNKNOWN, load: EngineLoad | None = None) -> None:
        self.key = key
        self.url = url
        self.load = load
        self.requests = 0
        self.promised_tokens = 0
        self.unstarted_tokens = 0
        # Flights without a first token, with the moment of sending: the first in order is the oldest.
        self._waiting: OrderedDict[Waiter, float] = OrderedDict()
        # Flights whose answer comes whole: nobody sees when they begin, so they count as not begun until they end.
        self._whole: set[Waiter] = set()
        self.pace = pace
        self.last_full_end_s: float | None = None
        self._proof = UNPROVED
        self._trouble: Trouble | None = None
        # Whether nothing is wrong with it as far as was seen when it was last looked at: then nothing is counted.
        self.is_calm = True

    def send(self, promised_tokens: int) -> None:
        self.requests += 1
        self.promised_tokens += promised_tokens

    def end(self, promised_tokens: int) -> None:
        self.requests -= 1
        self.promised_tokens -= promised_tokens

    def wait(self, flight: Waiter, prompt_tokens: int, sent_at_s: float) -> None:
        self._waiting[flight] = sent_at_s
        self.unstarted_tokens += prompt_tokens

    def wait_whole(self, flight: Waiter) -> None:
        self._whole.add(flight)

    def wait_no_more(self, flight: Waiter, prompt_tokens: int) -> None:
        """The flight gave its first token or ended, which may be said more than once."""
        if self._waiting.pop(flight, None) is not None:
            self.unstarted_tokens -= prompt_tokens
        else:
            self._whole.discard(flight)

    def probe(self, now_s: float, others: Sequence[Row]) -> None:
        """A request is sent there, to one that may not be well."""
        known = self._known(now_s, others)
        if known is not None:
            self._trouble = breaker.after_probe(known, self._trouble, now_s)

    def begin(self, sent_at_s: float, ttft_s: float | None, now_s: float, others: Sequence[Row]) -> None:
        """A first token came, or a whole answer (None), for what was sent then."""
        known = self._known(now_s, others)
        if known is None:
            return
        self._trouble = breaker.after_token(known, self._trouble, sent_at_s, ttft_s, now_s)
        if breaker.is_fast_again(known, self._trouble):
            # Medians of when it was slow would open it again.
            self.pace = replace(self.pace, answers=0, ttft_p50_s=None, tpot_p50_s=None)

    def prove(self, sent_at_s: float, now_s: float) -> None:
        """What was sent then has given its first token. All that is kept of it while all is well."""
        proof = self._proof
        self._proof = Proof(now_s, proof.ended_s, sent_at_s if sent_at_s > proof.sent_s else proof.sent_s)

    def complete(self, sent_at_s: float, now_s: float, others: Sequence[Row]) -> None:
        """An answer came to its end, of what was sent then."""
        known = self._known(now_s, others)
        if known is not None:
            self._proof = replace(self._proof, ended_s=now_s)
            self._trouble = breaker.after_end(known, self._trouble, sent_at_s, now_s)

    def fail(self, fault: Fault, now_s: float, others: Sequence[Row]) -> bool:
        """Whether it is news: not of a request that was under way when others failed."""
        known = self._known(now_s, others)
        self._trouble = breaker.after_failure(known, self._trouble, fault, now_s)
        self.is_calm = False
        return not breaker.is_old(known, fault)

    def slow_down(self, limit_s: float, now_s: float, others: Sequence[Row]) -> None:
        """It is far slower than its like: a first token must come within `limit_s` before it is well again."""
        self._trouble = breaker.slowed(self._known(now_s, others), self._trouble, limit_s, now_s)
        self.is_calm = False

    def revive(self, now_s: float, others: Sequence[Row]) -> None:
        """An engine that was started anew."""
        known = self._known(now_s, others)
        self._proof = Proof(now_s, now_s, now_s)
        if known is not None:
            self._trouble = breaker.revived(known, self._trouble, now_s)

    def verdict(self, now_s: float, others: Sequence[Row], in_flight: InFlight) -> tuple[Verdict, float]:
        """Is it well, by all that this process and its siblings have seen, and until when if nothing happens?"""
        until_s = math.inf
        if self._trouble is not None or others:
            verdict, until_s = verdict_of(self._known(now_s, others), now_s)
            if verdict is not WELL:
                return verdict, until_s
        # What an engine does not say is seen by its supervisor, and its promise is kept by a forecast.
        if self.url is None and in_flight.unstarted:
            silent_s = self._silent_from_s(others, in_flight)
            return (SILENT, until_s) if now_s > silent_s else (WELL, min(until_s, silent_s))
        return WELL, until_s

    def shut_s(self, now_s: float, others: Sequence[Row]) -> float:
        """How much longer nobody should try it."""
        known = self._known(now_s, others)
        opening = None if known is None else known.opening
        return max(0.0, opening.until_s - now_s) if opening is not None and opening.lasts(now_s) else 0.0

    def _known(self, now_s: float, others: Sequence[Row]) -> Trouble | None:
        """What all workers have seen go wrong. It is forgotten here when it counts no more."""
        own = self._trouble
        troubles = [row.trouble for row in others if row.trouble is not None] if others else []
        if own is not None:
            troubles.append(own)
        known = together(troubles, self._newest_proof(others), now_s) if troubles else None
        if known is None:
            self._trouble = None
        self.is_calm = known is None
        return known

    def _newest_proof(self, others: Sequence[Row]) -> Proof:
        if not others:
            return self._proof
        proofs = [self._proof, *[row.proof for row in others]]
        return Proof(
            max(each.began_s for each in proofs),
            max(each.ended_s for each in proofs),
            max(each.sent_s for each in proofs),
        )

    def _silent_from_s(self, others: Sequence[Row], in_flight: InFlight) -> float:
        answered_s = self._newest_proof(others).sent_s
        return silent_from_s(in_flight.unstarted, in_flight.oldest_sent_at_s, answered_s, self.pace.ttft_p50_s)

    def in_flight(self, others: Sequence[Row]) -> InFlight:
        """Answers that do not stream show no first token, so they count as promised work but never as a queue."""
        unstarted = len(self._waiting)
        oldest_sent_at_s = next(iter(self._waiting.values())) if unstarted else math.inf
        own = InFlight(self.requests, self.promised_tokens, unstarted, self.unstarted_tokens, oldest_sent_at_s)
        return _together(own, others) if others else own

    def use(self, now_s: float) -> EngineUse:
        """What this process has there, for the supervisor. Looks at each flight without a first token."""
        unstarted = (*self._waiting, *self._whole)
        return EngineUse(
            self.requests,
            len(unstarted),
            max((each.prompt_tokens for each in unstarted), default=0),
            max((now_s - each.sent_at_s for each in unstarted), default=0.0),
        )

    def row(self) -> Row:
        """All of this that siblings need."""
        return Row(
            self.requests,
            self.promised_tokens,
            len(self._waiting),
            self.unstarted_tokens,
            next(iter(self._waiting.values()), 0.0),
            self._proof,
            self._trouble,
            0 if self.load is None else round(self.load.kv_tokens),
        )


def uses_by_url(accounts: Iterable[Account], now_s: float) -> Mapping[str, EngineUse]:
    """Engines that have something in flight; several models of one server are one use."""
    uses: dict[str, EngineUse] = {}
    for account in accounts:
        if account.requests and account.url is not None:
            use = account.use(now_s)
            uses[account.url] = _both(uses[account.url], use) if account.url in uses else use
    return uses


def _both(one: EngineUse, other: EngineUse) -> EngineUse:
    return EngineUse(
        one.in_flight + other.in_flight,
        one.unstarted + other.unstarted,
        max(one.longest_prompt_tokens, other.longest_prompt_tokens),
        max(one.oldest_wait_s, other.oldest_wait_s),
    )


def _together(own: InFlight, others: Sequence[Row]) -> InFlight:
    requests, promised_tokens = own.requests, own.promised_tokens
    unstarted, unstarted_tokens, oldest_sent_at_s = own.unstarted, own.unstarted_tokens, own.oldest_sent_at_s
    for row in others:
        requests += row.requests
        promised_tokens += row.promised_tokens
        if row.unstarted:
            unstarted += row.unstarted
            unstarted_tokens += row.unstarted_tokens
            oldest_sent_at_s = min(oldest_sent_at_s, row.oldest_sent_at_s)
    return InFlight(requests, promised_tokens, unstarted, unstarted_tokens, oldest_sent_at_s)
