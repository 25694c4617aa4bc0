"""Who is worse than its like, and how many of them may be passed over at once. Pure: figures in, names out.

Latency is judged among targets of one place that share a model: what is slow for a large model is not for a small one,
and engines and clouds wait for different things. Who has no like is not judged by this: a promise that an engine would
break is what `spill` sees, and a cloud that says nothing at all is `silent`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

import msgspec

from router.health.breaker import DEATHS
from router.health.opening import FIRST_SHARE
from router.health.verdict import Verdict

# So many times as slow as the median of its like, and slow at all.
SLOWER = 5.0
LEAST_SLOW_S = 1.0
# Medians of fewer answers say little.
LEAST_ANSWERS = 10
# Tokens of a usual answer, by which the time of each counts.
ANSWER_TOKENS = 64
# So many requests without a first token are no chance; and how long the oldest of them must have waited: so many times
# as long as usual, or this long where nothing is known, and never less than a patient reader minds.
LEAST_WAITING = 3
SILENT_TIMES = 5.0
LEAST_SILENT_S = 2.0
UNKNOWN_SILENT_S = 10.0
SILENT = Verdict("silent", 0.0)


class Speed(msgspec.Struct, frozen=True):
    """Medians of a target's answers, None where there are none, and whom it can be compared with."""

    answers: int
    ttft_s: float | None
    tpot_s: float | None
    place: str
    models: frozenset[str]

    @property
    def answer_s(self) -> float | None:
        """A usual answer; None where too little is known."""
        if self.answers < LEAST_ANSWERS or self.ttft_s is None:
            return None
        return self.ttft_s + ANSWER_TOKENS * (self.tpot_s or 0.0)


def outliers(speeds: Mapping[str, Speed]) -> Mapping[str, float]:
    """Who is far slower than its like, and the time to first token that would be none of that."""
    found: dict[str, float] = {}
    known = {name: speed for name, speed in speeds.items() if speed.answer_s is not None}
    sharing = _sharing(known)
    for name, speed in known.items():
        others = {other for model in speed.models for other in sharing[speed.place, model]} - {name}
        like = [known[other] for other in others]
        if like and (limit_s := _limit_s(like)) is not None:
            usual_s = median(each.answer_s or 0.0 for each in like)
            if (speed.answer_s or 0.0) > max(LEAST_SLOW_S, SLOWER * usual_s):
                found[name] = limit_s
    return found


def spared(ill: Sequence[Verdict], engines: int) -> Sequence[Verdict]:
    """The verdicts on those of so many engines that are ill; no more than half are passed over at once, and never all.

    Who would be one too many has the share of one that comes back: a request that brings down each engine it meets must
    not take them all, and the share keeps the second tries few. Engines that are dead are not counted at all: nobody is
    served by being sent to them.
    """
    ejected = [at for at, verdict in enumerate(ill) if verdict.cause not in DEATHS]
    most = (engines - len(ill) + len(ejected)) // 2
    if len(ejected) <= most:
        return ill
    # Who may be tried is nearest to its return.
    ejected.sort(key=lambda at: ill[at].probes > 0)
    kept = list(ill)
    for at in ejected[most:]:
        kept[at] = Verdict(None, FIRST_SHARE, 0, ill[at].cause or "")
    return kept


def silent_from_s(waiting: int, oldest_sent_at_s: float, answered_sent_at_s: float, usual_s: float | None) -> float:
    """The moment from which nothing comes of what was sent: several wait, the oldest for long, and nobody was answered
    who was sent after it. Infinite where there is none."""
    if waiting < LEAST_WAITING or answered_sent_at_s > oldest_sent_at_s:
        return math.inf
    limit_s = UNKNOWN_SILENT_S if usual_s is None else max(LEAST_SILENT_S, SILENT_TIMES * usual_s)
    return oldest_sent_at_s + limit_s


def _sharing(speeds: Mapping[str, Speed]) -> Mapping[tuple[str, str], set[str]]:
    """Who serves a model at a place."""
    found: dict[tuple[str, str], set[str]] = {}
    for name, speed in speeds.items():
        for model in speed.models:
            found.setdefault((speed.place, model), set()).add(name)
    return found


def _limit_s(like: Sequence[Speed]) -> float | None:
    firsts = [each.ttft_s for each in like if each.ttft_s is not None]
    return max(LEAST_SLOW_S, SLOWER * median(firsts)) if firsts else None
