"""A target's circuit breaker: what its failures mean for those who come next.

Closed, it opens after five failures in a row, or when a fifth of its answers of late are none, or at once when an
engine is gone or has become far slower than its like. Open, it is passed over for a second, and twice as long each time
it opens again, up to a quarter of a minute, or for as long as it asks where that is longer. Half open, one request may
try it, and one more each time that as long has passed again: a failure opens it anew, a success begins its return, in
which it has a tenth of its traffic at first and all of it after as long a time as it was open, ten seconds at most. A
first token is a success, unless it was answers that broke off which opened it: then only a whole answer is one.

Values only: a Trouble is what one worker has seen, `together` what all have, and a target without trouble has none at
all. Sources: five failures in a row are Envoy's outlier detection (consecutive_5xx 5), whose longest ejection of 300 s
is far too long for one who comes back by a single probe; a share of the answers is resilience4j's failureRateThreshold
(50 % of 100 calls there); a second that doubles is the first rest that this router always gave.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from router.health.opening import NEVER_S, Opening
from router.health.verdict import WELL, Verdict

MOST_FAILURES = 5
# More than this of its answers would spend all second tries that there may be (`retries.SHARE`).
MOST_FAILED_SHARE = 0.2
# Fewer answers than these say nothing of a share.
LEAST_ANSWERS = 20.0
# Time over which answers and failures are forgotten.
WINDOW_S = 5.0
# The first opening; each further one is twice as long, as long as it has not been well for FORGET_S in between.
OPEN_S = 1.0
LONGEST_OPEN_S = 15.0
FORGET_S = 60.0
# Of what a target asks for.
LONGEST_PAUSE_S = 30.0
# Of an engine: nobody listens there, or its connection ended with the request. One such failure tells all.
DEATHS = frozenset({"connect", "cut"})
SLOW = "slow"


class Trouble(msgspec.Struct, frozen=True, array_like=True):
    """What a worker has seen of a target since its first failure.

    `failures` without a first token and `breaks` after it, both in a row and those of which it has heard by siblings
    included, as is the `opening`. `good` and `bad` are its own answers and failures, which fade, as of `counted_at_s`;
    `probes` its own requests since `opening` is half open.
    """

    failures: int = 0
    failed_at_s: float = NEVER_S
    breaks: int = 0
    broken_at_s: float = NEVER_S
    good: float = 0.0
    bad: float = 0.0
    counted_at_s: float = NEVER_S
    probes: int = 0
    opening: Opening | None = None


class Fault(msgspec.Struct, frozen=True):
    """One failure, of a request that was sent at `sent_at_s`. `is_break`: it had given its first token."""

    cause: str
    sent_at_s: float
    retry_after_s: float | None = None
    is_death: bool = False
    is_break: bool = False


class Proof(msgspec.Struct, frozen=True, array_like=True):
    """The newest moments at which a first token came and an answer ended; and when the newest request was sent of which
    a first token came."""

    began_s: float = NEVER_S
    ended_s: float = NEVER_S
    sent_s: float = NEVER_S


UNPROVED = Proof()


def together(troubles: Sequence[Trouble], proof: Proof, now_s: float) -> Trouble | None:
    """What all workers have seen. `proof` is the newest that any of them has: it ends a row of what is older. None
    where nothing is left that counts."""
    if not troubles:
        return None
    opening = max((each.opening for each in troubles if each.opening is not None), key=_newest, default=None)
    failed_at_s = max(each.failed_at_s for each in troubles)
    broken_at_s = max(each.broken_at_s for each in troubles)
    if max(failed_at_s, broken_at_s) < now_s - FORGET_S and not (opening and _counts(opening, now_s)):
        return None
    # Who has not heard of the newest opening yet counts what was before it.
    counted = [_faded(each, now_s) for each in troubles if each.opening == opening]
    return Trouble(
        max([each.failures for each in troubles if each.failed_at_s > proof.began_s], default=0),
        failed_at_s,
        max([each.breaks for each in troubles if each.broken_at_s > proof.ended_s], default=0),
        broken_at_s,
        sum(each.good for each in counted),
        sum(each.bad for each in counted),
        now_s,
        sum(each.probes for each in counted),
        opening,
    )


def verdict_of(known: Trouble | None, now_s: float) -> tuple[Verdict, float]:
    """What all that is known of a target comes to, and until when it does if nothing happens."""
    opening = None if known is None else known.opening
    return (WELL, math.inf) if known is None or opening is None else opening.verdict(now_s, known.probes)


def is_old(known: Trouble | None, fault: Fault) -> bool:
    """Whether the request was sent before an opening ended: those under way together fail together, as one."""
    opening = None if known is None else known.opening
    return opening is not None and fault.sent_at_s < opening.tells_until_s


def after_failure(known: Trouble | None, own: Trouble | None, fault: Fault, now_s: float) -> Trouble:
    """A worker's own trouble after a failure, where `known` is that of all workers."""
    known = known or Trouble()
    mine, opening = _own(known, own, now_s), known.opening
    if opening is not None and is_old(known, fault):
        if fault.retry_after_s is None or not opening.lasts(now_s):
            return mine
        until_s = max(opening.until_s, now_s + min(fault.retry_after_s, LONGEST_PAUSE_S))
        return replace(mine, opening=replace(opening, until_s=until_s))
    if fault.is_break:
        # It counted as an answer when it began.
        good = max(0.0, mine.good - 1)
        mine = replace(mine, breaks=known.breaks + 1, broken_at_s=now_s, good=good, bad=mine.bad + 1)
        in_a_row, all_good = mine.breaks, max(0.0, known.good - 1)
    else:
        mine = replace(mine, failures=known.failures + 1, failed_at_s=now_s, bad=mine.bad + 1)
        in_a_row, all_good = mine.failures, known.good
    is_half_open = opening is not None and opening.lasts(now_s)
    if fault.is_death or is_half_open or in_a_row >= MOST_FAILURES or _are_many(all_good, known.bad + 1):
        return replace(mine, probes=0, opening=_opened(_trips(opening, now_s) + 1, fault, now_s))
    if fault.retry_after_s:
        # Who asks for a pause on its way back is not back.
        trips = 0 if verdict_of(known, now_s)[0] is WELL else _trips(opening, now_s) + 1
        return replace(mine, probes=0, opening=_opened(trips, fault, now_s))
    return mine


def after_token(known: Trouble, own: Trouble | None, sent_at_s: float, ttft_s: float | None, now_s: float) -> Trouble:
    """A worker's own trouble after a first token, `ttft_s` after it was sent; None: with an answer that came whole."""
    mine, opening = _own(known, own, now_s), known.opening
    mine = replace(mine, good=mine.good + 1)
    if opening is None or opening.ended_at_s != NEVER_S or sent_at_s < opening.opened_at_s:
        return mine
    if opening.is_death:
        return replace(mine, opening=replace(opening, trips=0, ended_at_s=now_s))
    if ttft_s is not None and ttft_s > opening.limit_s:
        return _slow_again(mine, opening, now_s)
    return mine if opening.is_break and ttft_s is not None else _ended(mine, opening, now_s)


def is_fast_again(before: Trouble, after: Trouble) -> bool:
    """Whether a target that was too slow is so no more."""
    was, now = before.opening, after.opening
    if was is None or now is None or was.cause != SLOW:
        return False
    return was.ended_at_s == NEVER_S and now.ended_at_s != NEVER_S


def after_end(known: Trouble, own: Trouble | None, sent_at_s: float, now_s: float) -> Trouble | None:
    """A worker's own trouble after the end of a stream as it should be."""
    opening = known.opening
    if opening is None or not opening.is_break or opening.ended_at_s != NEVER_S or sent_at_s < opening.opened_at_s:
        return own
    return _ended(_own(known, own, now_s), opening, now_s)


def after_probe(known: Trouble, own: Trouble | None, now_s: float) -> Trouble | None:
    """A worker's own trouble after it sent a request there."""
    opening = known.opening
    if opening is None or now_s < opening.until_s or not opening.lasts(now_s):
        return own
    mine = _own(known, own, now_s)
    return replace(mine, probes=mine.probes + 1)


def slowed(known: Trouble | None, own: Trouble | None, limit_s: float, now_s: float) -> Trouble:
    """A worker's own trouble with a target that has become too slow: its first token must come within `limit_s`."""
    opening = None if known is None else known.opening
    opened = replace(_opened(_trips(opening, now_s) + 1, Fault(SLOW, now_s), now_s), limit_s=limit_s)
    return replace(own or Trouble(), failed_at_s=now_s, good=0.0, bad=0.0, probes=0, opening=opened)


def revived(known: Trouble, own: Trouble | None, now_s: float) -> Trouble:
    """A worker's own trouble with an engine that was started anew: what its last run did says nothing of this one."""
    opening = known.opening and replace(known.opening, trips=0, ended_at_s=now_s)
    return replace(own or Trouble(), failures=0, breaks=0, bad=0.0, good=0.0, probes=0, opening=opening)


def _ended(mine: Trouble, opening: Opening, now_s: float) -> Trouble:
    """Who has answered begins anew: the failures before this say nothing of what it is now."""
    opening = replace(opening, ended_at_s=now_s)
    return replace(mine, failures=0, breaks=0, bad=0.0, good=0.0, probes=0, opening=opening)


def _slow_again(mine: Trouble, opening: Opening, now_s: float) -> Trouble:
    opened = _opened(opening.trips + 1, Fault(opening.cause, now_s), now_s)
    return replace(mine, good=0.0, bad=0.0, probes=0, opening=replace(opened, limit_s=opening.limit_s))


def _opened(trips: int, fault: Fault, now_s: float) -> Opening:
    # Bounded before the power is taken, which would grow beyond every float.
    own_s = min(LONGEST_OPEN_S, OPEN_S * 2.0 ** min(trips - 1, 10)) if trips else 0.0
    length_s = max(own_s, min(fault.retry_after_s or 0.0, LONGEST_PAUSE_S))
    return Opening(trips, fault.cause, now_s, now_s + length_s, is_death=fault.is_death, is_break=fault.is_break)


def _own(known: Trouble, own: Trouble | None, now_s: float) -> Trouble:
    """A worker's own counts as they weigh now; they begin anew with each opening and with its end."""
    if own is not None and own.opening == known.opening:
        return _faded(own, now_s)
    return replace(own or Trouble(), good=0.0, bad=0.0, counted_at_s=now_s, probes=0, opening=known.opening)


def _are_many(good: float, bad: float) -> bool:
    return bad + good >= LEAST_ANSWERS and bad >= MOST_FAILED_SHARE * (bad + good)


def _trips(opening: Opening | None, now_s: float) -> int:
    """Openings in a row so far: those before a time in which it was well do not count."""
    if opening is None:
        return 0
    ended_at_s = opening.until_s if opening.ended_at_s == NEVER_S else opening.ended_at_s
    is_old = now_s - ended_at_s > FORGET_S and not opening.lasts(now_s)
    return 0 if is_old else opening.trips


def _counts(opening: Opening, now_s: float) -> bool:
    return opening.lasts(now_s) or now_s - max(opening.until_s, opening.ended_at_s) < FORGET_S


def _newest(opening: Opening) -> tuple[float, float, float]:
    return opening.opened_at_s, opening.ended_at_s, opening.until_s


def _faded(trouble: Trouble, now_s: float) -> Trouble:
    """Its counts as they weigh now."""
    if not trouble.good and not trouble.bad:
        return replace(trouble, counted_at_s=now_s)
    left = math.exp((trouble.counted_at_s - now_s) / WINDOW_S)
    return replace(trouble, good=trouble.good * left, bad=trouble.bad * left, counted_at_s=now_s)
