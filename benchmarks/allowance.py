"""How many requests a minute a stand-in provider takes from one key, counted in one of the ways in which providers do.

Pure: the clock is passed in. It must not know who asks. Sources: OpenAI and Anthropic describe a token bucket
("Rate limits"); Google and SambaNova tell of requests in a minute, which is a window, fixed or sliding.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import StrEnum

MINUTE_S = 60.0


class Window(StrEnum):
    """`bucket` fills up evenly, `sliding` looks at the last minute, `fixed` begins anew with every minute."""

    BUCKET = "bucket"
    SLIDING = "sliding"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True)
class Bound:
    """The provider's terms for each key."""

    per_minute: int
    window: Window = Window.BUCKET


class Allowance:
    """The count of one key."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self._taken_s: deque[float] = deque()
        self._level = float(bound.per_minute)
        self._at_s = -math.inf

    def take(self, now_s: float) -> float:
        """0 where the request may pass, else the seconds until the next one may. What is refused does not count."""
        wait_s = self._wait_s(now_s)
        if not wait_s:
            self._taken_s.append(now_s)
            self._level -= 1
        return wait_s

    def remaining(self, now_s: float) -> int:
        """How many more may pass now."""
        self._turn(now_s)
        if self._bound.window is Window.BUCKET:
            return max(0, math.floor(self._level))
        return max(0, self._bound.per_minute - len(self._taken_s))

    def full_in_s(self, now_s: float) -> float:
        """Until it is as if nothing had been asked for."""
        self._turn(now_s)
        if self._bound.window is Window.BUCKET:
            return (self._bound.per_minute - self._level) * MINUTE_S / self._bound.per_minute
        return max(0.0, self._free_at_s(self._taken_s[-1]) - now_s) if self._taken_s else 0.0

    def headers(self, now_s: float) -> dict[str, str]:
        """As OpenAI names them."""
        return {
            "x-ratelimit-limit-requests": str(self._bound.per_minute),
            "x-ratelimit-remaining-requests": str(self.remaining(now_s)),
            "x-ratelimit-reset-requests": f"{self.full_in_s(now_s):.2f}s",
        }

    def _wait_s(self, now_s: float) -> float:
        if self.remaining(now_s):
            return 0.0
        if self._bound.window is Window.BUCKET:
            return (1 - self._level) * MINUTE_S / self._bound.per_minute
        return max(0.001, self._free_at_s(self._taken_s[0]) - now_s)

    def _free_at_s(self, taken_s: float) -> float:
        """When what was taken then no longer counts."""
        if self._bound.window is Window.FIXED:
            return (math.floor(taken_s / MINUTE_S) + 1) * MINUTE_S
        return taken_s + MINUTE_S

    def _turn(self, now_s: float) -> None:
        if self._at_s > -math.inf:
            gained = (now_s - self._at_s) * self._bound.per_minute / MINUTE_S
            self._level = min(float(self._bound.per_minute), self._level + gained)
        self._at_s = now_s
        if self._bound.window is not Window.BUCKET:
            while self._taken_s and self._free_at_s(self._taken_s[0]) <= now_s:
                self._taken_s.popleft()
