"""What became of the requests of a run, and what that comes to: promise kept, bill, misses by cause. Pure."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulator.arrival import Arrival

# In `places`: at no place yet, in the cloud; from 0 on the number of an engine.
NOWHERE, CLOUD = -1, -2
WINDOW_S = 300.0


@dataclass(frozen=True, slots=True)
class Promise:
    """Of each request: its first token, and the mean time of those after it. `share` of the requests must get both."""

    ttft_s: float = 2.0
    tpot_s: float = 0.1
    share: float = 0.99

    def met(self, ttft_s: float, tpot_s: float) -> bool:
        """By one request."""
        return ttft_s <= self.ttft_s and tpot_s <= self.tpot_s


class Records:
    """A line for each request, by its number; one writer, the world. NaN: it has not come."""

    def __init__(self, count: int) -> None:
        unknown = array("d", [math.nan]) * count
        self.sent_s, self.ttft_s, self.tpot_s = unknown[:], unknown[:], unknown
        # What was paid for calls that were made a second time.
        self.again_usd = array("d", [0.0]) * count
        self.places = array("h", [NOWHERE]) * count


@dataclass(frozen=True, slots=True)
class Outcome:
    """Shares are of all requests. A request that was never served is a miss.

    `worst_share` is kept in the worst 5 minutes among those with enough requests to tell `share`; None: there is none.
    """

    policy: str
    requests: int
    kept_share: float
    worst_share: float | None
    is_kept: bool
    usd: float
    all_cloud_usd: float
    spilled_share: float
    again_share: float
    cloud_late_share: float
    ttft_here_share: float
    tpot_here_share: float
    unserved_share: float
    preemptions: int
    wait_mean_s: float
    wait_p99_s: float
    ttft_p50_s: float
    ttft_p99_s: float
    busy_share: float
    trace_s: float
    run_s: float

    @property
    def bill_share(self) -> float:
        """Of what it would cost to send all to the cloud."""
        return self.usd / self.all_cloud_usd if self.all_cloud_usd else 0.0

    def document(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self), "bill_share": self.bill_share}


class Tally:
    """The arrays of a run, and the figures that they come to."""

    def __init__(self, arrivals: Sequence[Arrival], records: Records, promise: Promise) -> None:
        self.at_s = np.fromiter((each.at_s for each in arrivals), np.float64, len(arrivals))
        self.sent_s, self.ttft_s, self.tpot_s = map(np.asarray, (records.sent_s, records.ttft_s, records.tpot_s))
        self.places, self.again_usd = np.asarray(records.places), np.asarray(records.again_usd)
        self.promise = promise

    @cached_property
    def served(self) -> NDArray[np.bool_]:
        """Whose last token came."""
        served: NDArray[np.bool_] = ~np.isnan(self.tpot_s)
        return served

    @cached_property
    def kept(self) -> NDArray[np.bool_]:
        """Who got what was promised. What never came is NaN, and NaN is not within a limit."""
        kept: NDArray[np.bool_] = (self.ttft_s <= self.promise.ttft_s) & (self.tpot_s <= self.promise.tpot_s)
        return kept

    @cached_property
    def spilled(self) -> NDArray[np.bool_]:
        """Who was sent to the cloud."""
        spilled: NDArray[np.bool_] = self.places == CLOUD
        return spilled

    def paid(self, usd: NDArray[np.float64]) -> NDArray[np.float64]:
        """For each request, of what it costs in the cloud."""
        paid: NDArray[np.float64] = np.where(self.spilled, usd, 0.0) + self.again_usd
        return paid

    @property
    def again_share(self) -> float:
        """Of all requests, who called a cloud twice."""
        return float((self.again_usd > 0).mean())

    def causes(self) -> tuple[float, float, float, float]:
        """Shares of all requests: late in the cloud, first token late here, tokens too slow here, never served."""
        here = self.served & ~self.spilled
        late = self.ttft_s > self.promise.ttft_s
        found = (self.served & self.spilled & ~self.kept, here & late, here & ~late & ~self.kept, ~self.served)
        cloud, ttft, tpot, unserved = (float(each.mean()) for each in found)
        return cloud, ttft, tpot, unserved

    def worst_share(self) -> float | None:
        """Kept in the worst window that begins with an arrival, lies in the trace, and has enough requests to tell."""
        least = 1 / max(1 - self.promise.share, 1 / len(self.at_s))
        ends = np.searchsorted(self.at_s, self.at_s + WINDOW_S)
        counted = ends - np.arange(len(self.at_s))
        told = (counted >= least) & (self.at_s + WINDOW_S <= self.at_s[-1])
        if not told.any():
            return None
        sums = np.concatenate(([0], np.cumsum(self.kept)))
        kept = sums[ends] - sums[:-1]
        return float((kept[told] / counted[told]).min())


def outcome_of(
    policy: str, tally: Tally, usd: NDArray[np.float64], engines: tuple[int, float], run_s: float
) -> Outcome:
    """`usd`: what each request costs in the cloud. `engines`: their preemptions, and the share of time they worked."""
    waits_s = (tally.sent_s - tally.at_s)[tally.served]
    ttfts_s = tally.ttft_s[tally.served]
    p50_s, p99_s = np.quantile(ttfts_s, (0.5, 0.99)) if len(ttfts_s) else (math.nan, math.nan)
    kept_share = float(tally.kept.mean())
    cloud, ttft, tpot, unserved = tally.causes()
    return Outcome(
        policy=policy,
        requests=len(tally.at_s),
        kept_share=kept_share,
        worst_share=tally.worst_share(),
        is_kept=kept_share >= tally.promise.share,
        usd=float(tally.paid(usd).sum()),
        all_cloud_usd=float(usd.sum()),
        spilled_share=float(tally.spilled.mean()),
        again_share=tally.again_share,
        cloud_late_share=cloud,
        ttft_here_share=ttft,
        tpot_here_share=tpot,
        unserved_share=unserved,
        preemptions=engines[0],
        wait_mean_s=float(waits_s.mean()) if len(waits_s) else math.nan,
        wait_p99_s=float(np.quantile(waits_s, 0.99)) if len(waits_s) else math.nan,
        ttft_p50_s=float(p50_s),
        ttft_p99_s=float(p99_s),
        busy_share=engines[1],
        trace_s=float(tally.at_s[-1] - tally.at_s[0]),
        run_s=run_s,
    )
