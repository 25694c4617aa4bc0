"""How hard the engine was pressed: its own gauges as `/spillway/status` shows them, and the peak of what was seen.

Pure: JSON in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Pressure:
    """One look at an engine, or the highest values of many looks."""

    running: int = 0
    waiting: int = 0
    kv_used_fraction: float = 0.0
    preemptions_total: int = 0

    def peak(self, other: Pressure) -> Pressure:
        """The higher of each value."""
        theirs = asdict(other)
        return Pressure(**{name: max(value, theirs[name]) for name, value in asdict(self).items()})

    def sentence(self) -> str:
        """For people."""
        return (
            f"{self.running} running, {self.waiting} waiting, KV cache {self.kv_used_fraction:.0%} used, "
            f"{self.preemptions_total} preemptions"
        )


def pressure_in(status: Mapping[str, Any]) -> Pressure | None:
    """The first engine that reports its load, None when none does."""
    for engine in status.get("engines", ()):
        load = engine.get("load")
        if load is not None:
            return Pressure(**{name: load[name] for name in asdict(Pressure())})
    return None
