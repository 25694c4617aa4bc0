"""The engines of one model with what came to them, and what the ledger says became of it. Values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulator.setting import Setting
from benchmarks.whatifs.hours import Window

MONTH_S = 30 * 86_400.0
CLOCK = "%a %d %b %H:%M"


@dataclass(frozen=True, slots=True)
class Actual:
    """What the ledger says: shares of all requests. `kept_share` is of those that streamed, None where none did."""

    spilled_share: float
    kept_share: float | None
    usd: float


@dataclass(frozen=True, slots=True)
class Period:
    """The whole time asked for: how long, its requests, and what all of them would cost in the cloud."""

    lasts_s: float
    requests: int
    all_cloud_usd: float

    @property
    def per_month(self) -> float:
        """How often it goes into a month of 30 days."""
        return MONTH_S / self.lasts_s


@dataclass(frozen=True, slots=True)
class Pool:
    """`setting` is how it is now, with the requests of the windows; each stands for `weights` of the period's.

    `card` is the model of its GPUs, "" where there are none; an engine takes `gpus` of them.
    """

    name: str
    setting: Setting
    weights: NDArray[np.float64]
    period: Period
    windows: tuple[Window, ...]
    card: str = ""
    gpus: int = 1
    actual: Actual | None = None
    notes: tuple[str, ...] = ()

    @property
    def engine_word(self) -> str:
        """`RTX 4090`, or `engine` where one takes several GPUs, or none that is known."""
        return self.card if self.card and self.gpus == 1 else "engine"

    @property
    def seen(self) -> str:
        """Which hours were looked at."""
        if len(self.windows) == 1 and self.windows[0].weight == 1.0:
            return "all of it"
        length = f"{self.windows[0].lasts_s / 60:.0f} min"
        # A trace's clock begins at its first request.
        has_dates = self.windows[-1].start_s > 3e8
        times = [_moment(each.start_s, has_dates) for each in self.windows]
        return f"{len(times)} x {length} that stand for the rest, from {', '.join(times)}{' UTC' if has_dates else ''}"


def _moment(at_s: float, has_date: bool) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime(CLOCK) if has_date else f"{at_s / 3600:g} h"
