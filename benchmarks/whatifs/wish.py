"""What was asked for on the command line, besides where the requests come from. A value."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.simulator.cloud_times import CloudTimes
from benchmarks.simulator.outcome import Promise
from benchmarks.whatifs.place import CARDS

# In all cases of all pools together: less than a minute on one core.
MOST_REQUESTS = 150_000
# As `simulate` has them.
TTFT_S, TPOT_S, SHARE = 2.0, 0.1, 0.99


@dataclass(frozen=True, slots=True)
class Wish:
    """None: as the ledger, stack.toml and the plan have it. `model`: only this one's engines."""

    model: str | None = None
    engine: str | None = None
    engines: int | None = None
    cloud: CloudTimes | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
    share: float | None = None
    seed: int = 0

    @property
    def card(self) -> str:
        """The GPU of the engine that was asked for; "" where none was."""
        return "" if self.engine is None else CARDS[self.engine].name

    def promise(self, ttft_s: float = TTFT_S, tpot_s: float = TPOT_S, share: float = SHARE) -> Promise:
        """What is given counts where nothing else was asked for."""
        return Promise(self.ttft_s or ttft_s, self.tpot_s or tpot_s, self.share or share)
