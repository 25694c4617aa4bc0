"""One opening of a breaker: until when nobody may try the target, how it comes back, and what that means now. Pure."""

from __future__ import annotations

import math

import msgspec

from router.health.verdict import WELL, Verdict

NEVER_S = -math.inf
FIRST_SHARE = 0.1
LONGEST_RETURN_S = 10.0
# Its share grows in so many steps: between two of them nothing need be looked at.
RETURN_STEPS = 20
# Of a step or of a probe's time, so that the last bit of a clock reading does not decide.
ROUNDING = 1e-6


class Opening(msgspec.Struct, frozen=True, array_like=True):
    """`trips`: the how many-th in a row; 0 is no opening but a pause that the target asked for, which just ends.

    `until_s` ends the time in which nobody may try it. `ended_at_s` is when a success did; NEVER_S while it lasts.
    `limit_s`: a first token must come faster than this to end it. `is_death`: it is over when the time is. `is_break`:
    only a whole answer ends it.
    """

    trips: int
    cause: str
    opened_at_s: float
    until_s: float
    ended_at_s: float = NEVER_S
    limit_s: float = math.inf
    is_death: bool = False
    is_break: bool = False

    @property
    def length_s(self) -> float:
        return self.until_s - self.opened_at_s

    @property
    def tells_until_s(self) -> float:
        """A failure of a request that was sent before this says no more than the opening does."""
        return self.until_s if self.ended_at_s == NEVER_S else min(self.until_s, self.ended_at_s)

    def lasts(self, now_s: float) -> bool:
        """Whether it is open or half open."""
        if self.ended_at_s != NEVER_S:
            return False
        return now_s < self.until_s or not (self.is_death or self.trips == 0)

    def verdict(self, now_s: float, probes: int) -> tuple[Verdict, float]:
        """What it means now for a target that so many requests have tried since it is half open, and until when it
        means the same if nothing happens."""
        if self.lasts(now_s):
            if now_s < self.until_s:
                return Verdict(self.cause, 0.0), self.until_s
            allowed = 1 + math.floor((now_s - self.until_s) / self.length_s + ROUNDING)
            verdict = Verdict(self.cause, 0.0, max(0, allowed - probes))
            return verdict, self.until_s + (allowed - 2 * ROUNDING) * self.length_s
        if self.is_death or self.trips == 0:
            return WELL, math.inf
        step_s = min(self.length_s, LONGEST_RETURN_S) / RETURN_STEPS
        steps = math.floor((now_s - self.ended_at_s) / step_s + ROUNDING)
        if steps >= RETURN_STEPS:
            return WELL, math.inf
        share = FIRST_SHARE + (1 - FIRST_SHARE) * steps / RETURN_STEPS
        return Verdict(None, share, 0, self.cause), self.ended_at_s + (steps + 1 - 2 * ROUNDING) * step_s
