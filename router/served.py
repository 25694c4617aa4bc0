"""The end of a request: what it used and cost, written to the counts, the ledger and the metrics exactly once."""

from __future__ import annotations

import math
import re
import time
from functools import lru_cache

import msgspec

from router.ask import Ask
from router.basin import Basin
from router.clouds.cloud import Clouds
from router.comparing.slots import Slots
from router.counter import Counter
from router.course import Course
from router.decided import turned_away
from router.edits import Edits
from router.errors import ApiError
from router.feed import Line
from router.ledger import Ledger, Outcome
from router.lobby import Lobby
from router.metrics import Metrics
from router.outbox import Outbox
from router.pacing import Pacing
from router.quotas.permit import Permit
from router.quotas.quotas import Quotas
from router.reply import Reply
from router.report import Reports
from router.routing.fleet import Place, Target
from router.routing.gate import Decision
from router.routing.groups import chain_of, groups_of
from router.routing.passing import BUDGET, Money, is_affordable
from router.seat import Seat
from router.tables.keys import Keys
from router.upstream import Upstream
from router.watch import Flight, Usage, Watch

CLIENT_GONE = 499
# Names come from engines and configurations, and must not become header lines of their own.
UNPRINTABLE = re.compile(r"[^ -~]")
FREE = b"x-spillway-usd: 0\r\n"
ENDLESS = Money(math.inf)
# Members of an enumeration are slow to look up in it.
CLOUD = Place.CLOUD


class Doors(msgspec.Struct, frozen=True):
    """Everything that answering a request reaches: one door per foreign thing, one Watch."""

    keys: Keys
    watch: Watch
    line: Line
    lobby: Lobby
    outbox: Outbox
    upstream: Upstream
    clouds: Clouds
    quotas: Quotas
    ledger: Ledger
    pacing: Pacing
    metrics: Metrics
    reports: Reports
    edits: Edits
    seat: Seat
    basin: Basin
    # Of copies that shadows send.
    slots: Slots = msgspec.field(default_factory=Slots)
    counter: Counter = msgspec.field(default_factory=Counter)

    def money(self, tier: str) -> Money:
        return self.pacing.money(self.watch.rules, tier)


class Served(msgspec.Struct, frozen=True):
    """An answer under way: the target that gave the first token, and why it runs there. `lost_usd` is what its request
    has paid elsewhere: for tries that failed, and for answers that nobody hears."""

    ask: Ask
    target: Target
    reason: str
    attempts: int
    reply: Reply
    flight: Flight
    ttft_s: float | None
    permit: Permit | None = None
    lost_usd: float = 0.0

    def lines(self) -> bytes:
        """The header lines of the response, each with its line end, but for its length and its framing."""
        target, streams = self.target, self.reply.body is None
        where = _where(self.reply.content_type, target.name, target.served_name, streams)
        why = _why(self.ask.tier, self.reason, self.attempts)
        usd = FREE
        # What a cloud's stream costs is known at its end.
        if target.place is CLOUD or self.lost_usd:
            known_usd = _usd(target, *_tokens(self)) + self.lost_usd
            usd = b"" if streams and target.place is CLOUD else b"x-spillway-usd: %b\r\n" % _decimal(known_usd).encode()
        return b"%b%b%bx-request-id: %b\r\n" % (where, why, usd, self.ask.request_id.encode())


def refusal_lines(ask: Ask, decision: Decision, attempts: int) -> bytes:
    """The header lines of a refusal, each with its line end."""
    why = _why(ask.tier, decision.reason, attempts)
    return b"%bx-request-id: %b\r\n" % (why, ask.request_id.encode())


@lru_cache(maxsize=4096)
def _where(content_type: str, target: str, model: str, streams: bool) -> bytes:
    cache = "cache-control: no-cache\r\n" if streams else ""
    lines = f"content-type: {_line(content_type)}\r\n{cache}x-spillway-target: {_line(target)}\r\n"
    return f"{lines}x-spillway-model: {_line(model)}\r\n".encode()


@lru_cache(maxsize=4096)
def _why(tier: str, reason: str, attempts: int) -> bytes:
    lines = f"x-spillway-tier: {_line(tier)}\r\nx-spillway-reason: {_line(reason)}\r\n"
    return f"{lines}x-spillway-attempts: {attempts}\r\n".encode()


def _line(value: str) -> str:
    return UNPRINTABLE.sub("?", value)


def _decimal(usd: float) -> str:
    """Dollars without an exponent: `0`, `0.00000042`."""
    return f"{usd:.8f}".rstrip("0").rstrip(".") if usd else "0"


# Outcomes are made field by field in their order here: by keyword each would cost half a microsecond more.


def settle(doors: Doors, served: Served, arrived_s: float, status: int, error: str | None) -> None:
    """The end of an answer, whole or not: counts, money, ledger row, metrics."""
    now_s = time.monotonic()
    ask, target, usage = served.ask, served.target, served.reply.reading.usage
    is_whole = status < CLIENT_GONE
    doors.watch.finish(served.flight, Usage(*usage) if usage and is_whole else None, now_s, is_whole)
    prompt_tokens, completion_tokens = _tokens(served)
    usd = _usd(target, prompt_tokens, completion_tokens)
    if target.place is CLOUD:
        doors.ledger.settle(served.flight.id, usd)
        _end_leave(doors, served)
    outcome = Outcome(
        ask.request_id,
        time.time(),
        target.name,
        target.served_name,
        ask.tier,
        ask.task,
        ask.tenant,
        ask.feature,
        served.reason,
        served.attempts,
        status,
        error,
        prompt_tokens,
        completion_tokens,
        usd + served.lost_usd,
        served.ttft_s,
        now_s - arrived_s,
        ask.route,
        ask.arm,
        ask.shadow_of,
        None if served.reason != BUDGET else _wanted_usd(doors, served),
        served.flight.sent_at_s - arrived_s,
    )
    doors.ledger.record(outcome)
    doors.metrics.observe(outcome)


def discard(doors: Doors, served: Served) -> float:
    """A whole answer that nobody hears, because another target's is better. It is paid all the same: the dollars."""
    usage = served.reply.reading.usage
    doors.watch.finish(served.flight, Usage(*usage) if usage else None, time.monotonic(), is_whole=True)
    usd = _usd(served.target, *_tokens(served))
    if served.target.place is CLOUD:
        doors.ledger.settle(served.flight.id, usd)
        _end_leave(doors, served)
    return usd


def refused(doors: Doors, ask: Ask, course: Course, arrived_s: float, error: ApiError, attempts: int) -> None:
    """The end of a request that no target served, after so many tries."""
    decision = course.decision
    doors.watch.decisions.append(turned_away(ask, decision, error.message, attempts))
    prompt_tokens = completion_tokens = 0
    outcome = Outcome(
        ask.request_id,
        time.time(),
        "none",
        ask.requested,
        ask.tier,
        ask.task,
        ask.tenant,
        ask.feature,
        decision.reason,
        attempts,
        error.status,
        error.message,
        prompt_tokens,
        completion_tokens,
        course.lost_usd,
        None,
        time.monotonic() - arrived_s,
        ask.route,
        ask.arm,
        ask.shadow_of,
    )
    doors.ledger.record(outcome)
    doors.metrics.observe(outcome)


def _tokens(served: Served) -> tuple[int, int]:
    """As the target counted them; of an answer that broke off, the prompt as estimated and the tokens that came."""
    reading = served.reply.reading
    return reading.usage or (served.flight.prompt_tokens, reading.spoken)


def _wanted_usd(doors: Doors, served: Served) -> float | None:
    """What an answer that money kept here would have cost at the cheapest cloud of the first of its models that has
    one; None for one that went to a cloud after all, or that its client's own bound kept here."""
    ask, rules, fleet = served.ask, doors.watch.rules, doors.watch.now()
    # An edit may have taken the tier away.
    if served.target.place is CLOUD or ask.tier not in rules.tiers:
        return None
    for _, clouds in groups_of(ask, fleet, chain_of(ask, fleet, rules), rules):
        able = [each for each in clouds if each.off is None and is_affordable(ask, each, ENDLESS)]
        if able:
            return min(_usd(each, *_tokens(served)) for each in able)
    return None


def _end_leave(doors: Doors, served: Served) -> None:
    """Its provider's limits are told what it used."""
    if served.permit is not None:
        doors.quotas.settle(served.permit, *_tokens(served))


def _usd(target: Target, prompt_tokens: int, completion_tokens: int) -> float:
    """Local targets are free."""
    if target.place is not CLOUD or target.price is None:
        return 0.0
    return target.price.usd(prompt_tokens, completion_tokens)
