"""Was the generator late? Its own delays must not be read as the server's. Pure.

Two things are watched: how long after its moment a request was sent, and how late a regular beat of the event loop
came, because a loop that is late for its beat is late to read answers too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.drive.sample import Sample
from benchmarks.quantiles import quantile

P99 = 0.99
# Engines make a step every 10 to 50 ms: arrivals that are moved by less meet the same step.
MOST_LATE_S = 0.010
# Latencies count from the moment of schedule, so that lateness is in them: as much of the typical one is borne, or 1 ms
# where that is more, which is what the figures are promised to be exact to.
SHARE_OF_LATENCY = 0.01
ALWAYS_BORNE_S = 0.001


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds. `sent_` is of requests after their moment, `beat_` of the event loop after its beat.

    `typical_s` is the median time to first token, or of whole answers. `busy` is the share of a core that was used.
    """

    sent_p50_s: float = 0.0
    sent_p99_s: float = 0.0
    sent_most_s: float = 0.0
    beat_p99_s: float = 0.0
    beat_most_s: float = 0.0
    late_share: float = 0.0
    typical_s: float | None = None
    busy: float = 0.0


def lag_of(samples: Sequence[Sample], beats_s: Sequence[float] = (), busy: float = 0.0) -> Lag:
    """`beats_s` are how late each beat came."""
    lags_s = [sample.lag_s for sample in samples] or [0.0]
    late_s = list(beats_s) or [0.0]
    answered_s = [sample.e2e_s if sample.ttft_s is None else sample.ttft_s for sample in samples if sample.ok]
    return Lag(
        sent_p50_s=median(lags_s),
        sent_p99_s=quantile(lags_s, P99),
        sent_most_s=max(lags_s),
        beat_p99_s=quantile(late_s, P99),
        beat_most_s=max(late_s),
        late_share=sum(each > MOST_LATE_S for each in lags_s) / len(lags_s),
        typical_s=median(answered_s) if answered_s else None,
        busy=busy,
    )


def late(lag: Lag) -> str | None:
    """Why the figures are not the server's: None for a valid run.

    Not valid is a run in which 1 % of the requests were sent, or of the beats came, more than 10 ms late, or half of
    the requests later than 1 % of the typical latency and 1 ms.
    """
    cure = f"the generator used {lag.busy:.0%} of its core: give it a core of its own, or a smaller load."
    if lag.sent_p99_s > MOST_LATE_S:
        return f"1 % of the requests were sent {lag.sent_p99_s * 1000:.1f} ms late or later; {cure}"
    if lag.beat_p99_s > MOST_LATE_S:
        return f"1 % of the time answers were read {lag.beat_p99_s * 1000:.1f} ms late or later; {cure}"
    borne_s = max(ALWAYS_BORNE_S, SHARE_OF_LATENCY * (lag.typical_s or 0.0))
    if lag.sent_p50_s > borne_s:
        return f"half of the requests were sent {lag.sent_p50_s * 1000:.1f} ms late or later; {cure}"
    return None
