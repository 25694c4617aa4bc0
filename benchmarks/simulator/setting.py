"""What is simulated: requests, engines, a cloud, a promise. Values, the same for each policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulator.arrival import Arrival
from benchmarks.simulator.cloud_times import CloudTimes
from benchmarks.simulator.engine import Engine
from benchmarks.simulator.outcome import Promise
from benchmarks.simulator.scaling import Scaling, scaled
from benchmarks.simulator.steps import Steps


@dataclass(frozen=True, slots=True)
class EngineKind:
    """What `engines` of one kind are: their speed, their room and their scheduler's limits."""

    steps: Steps
    kv_tokens: int
    max_batched_tokens: int = 2048
    max_sequences: int = 256
    prefix_cache: bool = False

    def made(self) -> Engine:
        """One that has seen nothing."""
        return Engine(
            self.steps,
            self.kv_tokens,
            max_batched_tokens=self.max_batched_tokens,
            max_sequences=self.max_sequences,
            prefix_cache=self.prefix_cache,
        )


@dataclass(frozen=True)
class Setting:
    """`engines` of one kind; `seed` is of what the cloud takes and of thinned requests."""

    arrivals: Sequence[Arrival]
    engine: EngineKind
    engines: int
    cloud: CloudTimes
    promise: Promise
    seed: int = 0

    def at_rate(self, rate: float, way: Scaling = Scaling.OVERLAY) -> Setting:
        """The same trace with so many requests a second."""
        return replace(self, arrivals=scaled(self.arrivals, rate, self.seed, way))

    @property
    def kept_least(self) -> int:
        """So many requests must get what was promised."""
        return math.ceil(self.promise.share * len(self.arrivals) - 1e-9)

    @property
    def missed_most(self) -> int:
        """So many requests may miss."""
        return len(self.arrivals) - self.kept_least

    @cached_property
    def usd(self) -> NDArray[np.float64]:
        """What each request costs in the cloud."""
        paid = (self.cloud.usd(each.prompt_tokens, each.output_tokens) for each in self.arrivals)
        return np.fromiter(paid, np.float64, len(self.arrivals))
