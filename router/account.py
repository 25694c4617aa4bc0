"""What one router process counts of one target: its requests in flight, its failures, its pace.

Kept up to date with each event, in whole numbers so that it never drifts, and never counted anew: a decision costs
the same however much is in flight. Written by `router.watch` only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from engines.snapshot import EngineUse
from router.routing.fleet import InFlight, Pace
from router.siblings import NEVER_S, Rest, Row, rest_of

# Rest after the first failure in a row; it doubles with each further one.
REST_S = 1.0
LONGEST_REST_S = 30.0
UNKNOWN = Pace()


class Waiter(Protocol):
    """Whoever is in flight, as an account sees it. Two are the same only if they are one."""

    prompt_tokens: int
    sent_at_s: float


class Account:
    """Counts of one target, kept under `key` (see `Target.key`); `url` is None for a cloud.

    What `others` is in its methods: the rows of the sibling processes for the same target.
    """

    __slots__ = (
        "_cause",
        "_failed_at_s",
        "_failures",
        "_rest_until_s",
        "_succeeded_at_s",
        "_waiting",
        "_whole",
        "key",
        "last_full_end_s",
        "pace",
        "promised_tokens",
        "requests",
        "unstarted_tokens",
        "url",
    )

    def __init__(self, key: str, url: str | None, pace: Pace = UNKNOWN) -> None:
        self.key = key
        self.url = url
        self.requests = 0
        self.promised_tokens = 0
        self.unstarted_tokens = 0
        # Flights without a first token, with the moment of sending: the first in order is the oldest.
        self._waiting: OrderedDict[Waiter, float] = OrderedDict()
        # Flights whose answer comes whole: nobody sees when they begin, so they count as not begun until they end.
        self._whole: set[Waiter] = set()
        self.pace = pace
        self.last_full_end_s: float | None = None
        self._failures = 0
        self._failed_at_s = NEVER_S
        self._rest_until_s = NEVER_S
        self._succeeded_at_s = NEVER_S
        self._cause = ""

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

    def succeed(self, now_s: float) -> None:
        self._succeeded_at_s = now_s
        self._failures = 0

    def fail(self, cause: str, retry_after_s: float | None, now_s: float, others: Sequence[Row]) -> None:
        """Rest as long as the target asks for, else longer with each failure in a row."""
        old = self.rest(others) or Rest(0, NEVER_S, "")
        if now_s < old.until_s and retry_after_s is None:
            # Requests that were under way together fail together: that is one failure.
            return
        # Bounded before the power is taken, which would grow beyond every float.
        rest_s = min(retry_after_s or REST_S * 2.0 ** min(old.failures, 10), LONGEST_REST_S)
        self._failures = old.failures + 1
        self._failed_at_s = now_s
        self._rest_until_s = max(old.until_s, now_s + rest_s)
        self._cause = cause

    def rest(self, others: Sequence[Row]) -> Rest | None:
        """The rest that this process and its siblings gave the target, over or not."""
        if self._failures or (others and any([row.failures for row in others])):
            return rest_of((self.row(), *others))
        return None

    def resting(self, now_s: float, others: Sequence[Row]) -> str | None:
        """The cause of the rest, while it lasts."""
        if not (self._failures or others):
            return None
        rest = self.rest(others)
        return rest.cause if rest is not None and rest.until_s > now_s else None

    def in_flight(self, now_s: float, others: Sequence[Row]) -> InFlight:
        """Answers that do not stream show no first token, so they count as promised work but never as a queue."""
        unstarted = len(self._waiting)
        oldest_wait_s = now_s - next(iter(self._waiting.values())) if unstarted else 0.0
        own = InFlight(self.requests, self.promised_tokens, unstarted, self.unstarted_tokens, oldest_wait_s)
        return _together(own, others, now_s) if others else own

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
            self._failures,
            self._failed_at_s,
            self._rest_until_s,
            self._succeeded_at_s,
            self._cause,
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


def _together(own: InFlight, others: Sequence[Row], now_s: float) -> InFlight:
    requests, promised_tokens = own.requests, own.promised_tokens
    unstarted, unstarted_tokens, oldest_wait_s = own.unstarted, own.unstarted_tokens, own.oldest_wait_s
    for row in others:
        requests += row.requests
        promised_tokens += row.promised_tokens
        if row.unstarted:
            unstarted += row.unstarted
            unstarted_tokens += row.unstarted_tokens
            wait_s = now_s - row.oldest_sent_at_s
            oldest_wait_s = wait_s if wait_s > oldest_wait_s else oldest_wait_s
    return InFlight(requests, promised_tokens, unstarted, unstarted_tokens, oldest_wait_s)
