"""What second tries may cost all others, and how long one waits before it.

A second try after a failure spends the budget: at most a fifth of the requests of late, or three a second where that is
more (Envoy: retry budget 20 % and min_retry_concurrency 3; Finagle counts over ten seconds, as here). Who finds it
spent waits until there is some again; so a target that fails all makes its requests late, and never doubles the load
on the next one. Where a target was full or was never reached, what follows is no second try; nor is it for those who
were under way when its breaker opened, or when an engine died, for they are no more than they are.
"""

from __future__ import annotations

import math

SHARE = 0.2
LEAST_PER_S = 3.0
WINDOW_S = 10.0
# Pauses before a target is tried again: the first, and the longest.
PAUSE_S = 0.25
LONGEST_PAUSE_S = 8.0


class Budget:
    """Counts requests and second tries, with the clock passed in. One writer: the Watch of a worker.

    `workers` share the least rate, so that more of them allow no more second tries; but each allows one at a time.
    """

    __slots__ = ("_at_s", "_least", "_requests", "_retries")

    def __init__(self, workers: int = 1) -> None:
        self._least = max(1.0, LEAST_PER_S * WINDOW_S / workers)
        self._requests = 0.0
        self._retries = 0.0
        self._at_s = 0.0

    def count(self) -> None:
        """A request; it weighs from the next second try on."""
        self._requests += 1

    def wait_s(self, now_s: float) -> float:
        """Until a second try may be made, as far as can be seen now; 0: at once."""
        left = math.exp((self._at_s - now_s) / WINDOW_S)
        self._requests *= left
        self._retries *= left
        self._at_s = now_s
        most = max(self._least, SHARE * self._requests)
        # A half is as good as none, which takes for ever.
        free = max(most - 1, 0.5)
        return 0.0 if self._retries <= free else WINDOW_S * math.log(self._retries / free)

    def spend(self) -> None:
        """A second try is made."""
        self._retries += 1


def pause_s(tries: int, retry_after_s: float | None, lot: float) -> float:
    """Before a target that failed is tried again, after so many tries: twice as long each time, half of it by `lot` in
    [0, 1) so that those who failed together come back apart, and never less than it asked for.

    Half fixed and half by lot is "equal jitter" (AWS Architecture Blog, "Exponential Backoff And Jitter").
    """
    whole_s = min(LONGEST_PAUSE_S, PAUSE_S * 2.0 ** min(max(tries - 1, 0), 10))
    return max(retry_after_s or 0.0, whole_s / 2 + lot * whole_s / 2)
