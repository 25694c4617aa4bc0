"""The end of a request: what it used and cost, written to the counts, the ledger and the metrics exactly once."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from router.ask import Ask
from router.cloud import Clouds
from router.errors import ApiError
from router.fleet import Place, Target
from router.ledger import Ledger, Outcome
from router.metrics import Metrics
from router.policy import Decision, Money
from router.reply import Reply
from router.upstream import Upstream
from router.watch import Flight, Usage, Watch

CLIENT_GONE = 499


@dataclass(frozen=True, slots=True)
class Doors:
    """Everything the request handler reaches: one door per foreign thing, one Watch."""

    watch: Watch
    upstream: Upstream
    clouds: Clouds
    ledger: Ledger
    metrics: Metrics

    def money(self) -> Money:
        return Money(left_usd=self.watch.rules.limits.cloud_usd_per_day - self.ledger.spent_today_usd)


@dataclass(frozen=True, slots=True)
class Served:
    """An answer under way: the target that gave the first token, and why it runs there."""

    ask: Ask
    target: Target
    reason: str
    attempts: int
    reply: Reply
    flight: Flight
    ttft_s: float | None

    def headers(self) -> dict[str, str]:
        usd = _usd(self) if self.reply.events is None or self.target.place is Place.LOCAL else None
        return {
            "x-spillway-target": self.target.name,
            "x-spillway-model": self.target.served_name,
            "x-spillway-tier": self.ask.tier,
            "x-spillway-reason": self.reason,
            "x-spillway-attempts": str(self.attempts),
            "x-request-id": self.ask.request_id,
        } | ({} if usd is None else {"x-spillway-usd": f"{usd:.8f}".rstrip("0").rstrip(".")})


def settle(doors: Doors, served: Served, arrived_s: float, status: int, error: str | None) -> None:
    """The end of an answer, whole or not: counts, money, ledger row, metrics."""
    now_s = time.monotonic()
    reply = served.reply
    whole = Usage(*reply.usage) if reply.usage and status < CLIENT_GONE else None
    doors.watch.finish(served.flight, whole, now_s)
    usd = _usd(served)
    if served.target.place is Place.CLOUD:
        doors.ledger.settle(served.flight.id, usd)
    prompt_tokens, completion_tokens = _tokens(served)
    outcome = _unserved(served.ask, served.reason, served.attempts, now_s - arrived_s)
    note(
        doors,
        replace(
            outcome,
            target=served.target.name,
            model=served.target.served_name,
            status=status,
            error=error,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            usd=usd,
            ttft_s=served.ttft_s,
        ),
    )


def refused(doors: Doors, ask: Ask, decision: Decision, arrived_s: float, error: ApiError) -> None:
    """The end of a request that no target served."""
    outcome = _unserved(ask, decision.reason, len(decision.targets), time.monotonic() - arrived_s)
    note(doors, replace(outcome, status=error.status, error=error.message))


def _unserved(ask: Ask, reason: str, attempts: int, e2e_s: float) -> Outcome:
    """What is known of every request, whether a target served it or none did."""
    return Outcome(
        request_id=ask.request_id,
        at_unix_s=time.time(),
        target="none",
        model=ask.requested,
        tier=ask.tier,
        task=ask.task,
        tenant=ask.tenant,
        feature=ask.feature,
        reason=reason,
        attempts=attempts,
        status=0,
        error=None,
        prompt_tokens=0,
        completion_tokens=0,
        usd=0.0,
        ttft_s=None,
        e2e_s=e2e_s,
    )


def note(doors: Doors, outcome: Outcome) -> None:
    doors.ledger.record(outcome)
    doors.metrics.observe(outcome)


def _tokens(served: Served) -> tuple[int, int]:
    """As the target counted them; of an answer that broke off, the prompt as estimated and the tokens that came."""
    return served.reply.usage or (round(served.flight.prompt_tokens), served.reply.spoken)


def _usd(served: Served) -> float:
    return served.target.price.usd(*_tokens(served)) if served.target.price else 0.0
