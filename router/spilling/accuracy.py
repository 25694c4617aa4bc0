"""How far what was predicted lay from what came: time to first token. For /metrics, and for how much to trust it."""

from __future__ import annotations

from collections import deque

import msgspec

# The newest of them, so that what is shown is of now.
KEPT = 512


class Errors(msgspec.Struct, frozen=True):
    """Of the newest predictions: how many, the median and the 95th percentile of the error without its sign, and the
    median with it (above zero: later than predicted). Seconds; None while there are none."""

    count: int = 0
    p50_s: float | None = None
    p95_s: float | None = None
    bias_p50_s: float | None = None


class Accuracy:
    """Predicted against actual times of one engine. One writer; looked at now and then."""

    __slots__ = ("_errors_s", "count")

    def __init__(self) -> None:
        self.count = 0
        self._errors_s: deque[float] = deque(maxlen=KEPT)

    def judge(self, predicted_s: float, actual_s: float) -> None:
        self.count += 1
        self._errors_s.append(actual_s - predicted_s)

    def errors(self) -> Errors:
        """Nearest-rank quantiles. Sorts what is kept: some 50 microseconds."""
        if not self._errors_s:
            return Errors()
        signed = sorted(self._errors_s)
        plain = sorted(map(abs, signed))
        return Errors(self.count, _quantile(plain, 0.5), _quantile(plain, 0.95), _quantile(signed, 0.5))


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
