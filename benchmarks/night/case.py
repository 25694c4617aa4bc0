"""What a fault of the suite is: its name, what it needs, what is done, what is waited for, and what is promised of it.

It must not know how any of this is carried out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from benchmarks.night.conduct import Conduct
from benchmarks.night.night import Night
from benchmarks.night.scenery import Engines, Scenery
from benchmarks.night.signs import Sign

Strike = Callable[[Night], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Aims:
    """What must hold; None: nothing is promised of that. Always: no request that may spill is lost before its first
    token, none is answered wrong, nothing is left over, and all is back as planned in `back_s`.

    `found_s` from the fault until the supervisor says so; `away_s` until the cloud's first answer is seen. With
    `reading_tokens_per_s` what waits at the engine may rightly take so long to be read, on top of `found_s`.
    `is_quiet`: nothing is to happen at all, and no stream is to break either. `may_lose`: the router itself dies, so
    whoever comes while there is none is lost. `keeps`: engines (by name) that must be the same process afterwards.
    """

    back_s: float = 60.0
    found_s: float | None = 2.0
    reading_tokens_per_s: float | None = None
    away_s: float | None = None
    is_quiet: bool = False
    keeps_streams: bool = False
    may_lose: bool = False
    keeps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One fault. `found` and `back`: how the supervisor's Snapshot shows that it knows, and that all is well again.

    `spoils`: the stack is not fit for another fault afterwards. `other`: the sceneries in which it can be had besides.
    """

    name: str
    what: str
    strike: Strike
    aims: Aims
    scenery: Scenery
    found: Sign
    back: Sign
    other: Mapping[Engines, Scenery] = field(default_factory=lambda: MappingProxyType({}))
    conduct: Conduct | None = None
    rate: float = 8.0
    calm_s: float = 2.0
    after_s: float = 1.5
    spoils: bool = False
