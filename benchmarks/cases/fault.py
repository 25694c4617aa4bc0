"""What breaks, and when. Pure: `--fault 20:cloud-429` in, a schedule out. It must not know how it is carried out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Break(StrEnum):
    """The faults by name; `*-ok` mends what the others of its side broke."""

    KILL_ENGINE = "kill-engine"
    HANG_ENGINE = "hang-engine"
    ENGINE_OK = "engine-ok"
    CLOUD_429 = "cloud-429"
    CLOUD_500 = "cloud-500"
    CLOUD_503 = "cloud-503"
    CLOUD_SLOW = "cloud-slow"
    CLOUD_TIMEOUT = "cloud-timeout"
    CLOUD_CUT = "cloud-cut"
    CLOUD_OK = "cloud-ok"


MENDING = frozenset({Break.ENGINE_OK, Break.CLOUD_OK})
# Seconds of a fault that has a length, where none is named: `retry-after` of a 429, the delay of a slow cloud.
DEFAULT_S = MappingProxyType[Break, float]({Break.CLOUD_429: 1.0, Break.CLOUD_SLOW: 3.0})
# What the stand-in cloud calls them.
SWITCHES = MappingProxyType(
    {
        Break.CLOUD_429: "429",
        Break.CLOUD_500: "500",
        Break.CLOUD_503: "503",
        Break.CLOUD_SLOW: "slow_first_byte",
        Break.CLOUD_TIMEOUT: "timeout",
        Break.CLOUD_CUT: "cut",
        Break.CLOUD_OK: "ok",
    }
)
EXAMPLE = "10:kill-engine or 30:cloud-slow=3"


@dataclass(frozen=True, slots=True)
class Fault:
    """`at_s` counts from the start of the run. `seconds` is None where the fault has no length of its own."""

    at_s: float
    what: Break
    seconds: float | None = None

    @property
    def is_of_engine(self) -> bool:
        """Whether the engine is hit, not the cloud."""
        return self.what not in SWITCHES

    @property
    def mends(self) -> bool:
        """Whether it ends faults instead of making one."""
        return self.what in MENDING

    @property
    def switch(self) -> Mapping[str, Any]:
        """The body of `POST /_switch` at the stand-in cloud."""
        length = {} if self.seconds is None else {"seconds": self.seconds}
        return {"mode": SWITCHES[self.what]} | length

    def __str__(self) -> str:
        return f"{self.what}" if self.seconds is None else f"{self.what}={self.seconds:g}"


def faults_in(texts: Iterable[str]) -> tuple[Fault, ...]:
    """From `SECONDS:NAME[=SECONDS]` each, in the order of time. Raises ValueError with a sentence."""
    return tuple(sorted((_fault_in(text) for text in texts), key=lambda fault: fault.at_s))


def _fault_in(text: str) -> Fault:
    at, _, rest = text.partition(":")
    name, _, length = rest.partition("=")
    if name not in set(Break):
        raise ValueError(f"--fault {text!r}: name one of {', '.join(Break)} after the time, such as {EXAMPLE}")
    what = Break(name)
    if length and what not in DEFAULT_S:
        raise ValueError(f"--fault {text!r}: {name} has no length; only {' and '.join(DEFAULT_S)} have one")
    seconds = _seconds(text, length) if length else DEFAULT_S.get(what)
    return Fault(_seconds(text, at), what, seconds)


def _seconds(text: str, number: str) -> float:
    try:
        seconds = float(number)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"--fault {text!r}: {number!r} is no time in seconds; write it as {EXAMPLE}")
    return seconds
