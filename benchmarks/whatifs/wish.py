"""What was asked for on the command line, besides where the requests come from. A value."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.simulator.cloud_times import CloudTimes
from benchmarks.simulator.outcome import Promise
from benchmarks.whatifs.place import CARDS

# In all cases of all pools together: less than a minute on one core.
MOST_REQUESTS = 150_000
TTFT_S = 2.0


@dataclass(frozen=True, slots=True)
class Wish:
    """None: as the ledger, stack.toml and the plan have it. `model`: only this one's engines."""

    model: str | None = None
    engine: str | None = None
    engines: int | None = None
    cloud: CloudTimes | None = None
    ttft_s: float | None = None
    tpot_s: float = 0.1
    share: float = 0.99
    seed: int = 0

    @property
    def card(self) -> str:
        """The GPU of the engine that was asked for; "" where none was."""
        return "" if self.engine is None else CARDS[self.engine].name

    def promise(self, ttft_s: float) -> Promise:
        """`ttft_s` counts where none was asked for."""
        return Promise(self.ttft_s or ttft_s, self.tpot_s, self.share)
