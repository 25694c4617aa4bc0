"""The engines of one model with what came to them, and what the ledger says became of it. Values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulator.setting import Setting
from benchmarks.whatifs.hours import Window

MONTH_S = 30 * 86_400.0
# What is less than this is no time of day: ten years since 1970.
LEAST_UNIX_S = 3e8


@dataclass(frozen=True, slots=True)
class Actual:
    """What the ledger says: shares of all requests, dollars of all that was spilled.

    `kept_share` is of what streamed in the windows, None where nothing did. `seen_share` and `seen_usd` are what the
    windows alone would say of all: how far they stand for the rest.
    """

    spilled_share: float
    kept_share: float | None
    usd: float
    seen_share: float
    seen_usd: float


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
        """`RTX 4090`, or `engine` where none is known, or `engine of 2 RTX 4090`."""
        if not self.card:
            return "engine"
        return self.card if self.gpus == 1 else f"engine of {self.gpus} {self.card}"

    @property
    def is_whole(self) -> bool:
        """Whether all of the period is simulated."""
        return len(self.windows) == 1 and self.windows[0].weight == 1.0

    @property
    def seen(self) -> str:
        """Which hours were looked at."""
        if self.is_whole:
            return "all of it"
        length = f"{self.windows[0].lasts_s / 60:.0f} min"
        # A trace's clock begins at its first request.
        if self.windows[-1].start_s < LEAST_UNIX_S:
            times = ", ".join(f"{each.start_s / 3600:.3g} h" for each in self.windows)
        else:
            times = f"{_dated(self.windows)} UTC"
        return f"{len(self.windows)} x {length} that stand for the rest: {times}"


def _dated(windows: Sequence[Window]) -> str:
    """`14 Sep 01:15, 03:00; 15 Sep 10:00`."""
    moments = [datetime.fromtimestamp(each.start_s, UTC) for each in windows]
    days = groupby(moments, key=lambda moment: moment.strftime("%-d %b"))
    return "; ".join(f"{day} {', '.join(moment.strftime('%H:%M') for moment in of_day)}" for day, of_day in days)
