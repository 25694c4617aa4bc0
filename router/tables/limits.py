"""`[limits]`: bounds that hold for every request."""

from __future__ import annotations

from functools import cached_property

from pydantic import Field

from router.spilling.budget import RESERVE_SHARE
from router.spilling.periods import NO_CAP, Dollars
from router.tables.table import Count, Part, Seconds, Table, Usd

# Whoever stops the whole stack waits for the router and then for the engines, and not for ever.
LONGEST_DRAIN_S = 30.0


class Limits(Table):
    """Bounds that hold for every request. Times, in seconds, each with an error of its own:

    receive_s       a client's request from its first byte to the end of its headers, and between two pieces of its body
    max_wait_s      longest wait for local room, before 429 with retry-after; and, counted by itself, for an engine that
                    starts, sleeps or is started again, before 503
    connect_s       until an engine has accepted a connection
    first_token_s   from sending a stream's request to its first token; where another target may serve, a cloud has as
                    long for a whole answer, and the time for writing it
    silence_s       between two chunks of a stream after that
    whole_answer_s  a whole request from its arrival, streaming or not
    drain_s         what may run on after TERM, 30 at most

    reserve_share   of each budget of money, what every tier leaves to each tier that gives way after it

    Every bound belongs to one request and is kept by the worker that serves it, but for the clouds' money in each hour,
    day and month of UTC: these are sums for all workers, kept exactly by the ledger's transactions. None: no bound.
    """

    default_tier: str = "standard"
    body_bytes: Count = 20 * 1024 * 1024
    receive_s: Seconds = 30.0
    max_wait_s: Seconds = 60.0
    connect_s: Seconds = 2.0
    first_token_s: Seconds = 120.0
    silence_s: Seconds = 120.0
    whole_answer_s: Seconds = 600.0
    drain_s: Seconds = Field(10.0, le=LONGEST_DRAIN_S)
    cloud_usd_per_hour: Usd | None = None
    cloud_usd_per_day: Usd = 10.0
    cloud_usd_per_month: Usd | None = None
    reserve_share: Part = RESERVE_SHARE

    @cached_property
    def caps(self) -> Dollars:
        """Kept, because each request asks it."""
        hour, month = self.cloud_usd_per_hour, self.cloud_usd_per_month
        return Dollars(NO_CAP if hour is None else hour, self.cloud_usd_per_day, NO_CAP if month is None else month)
