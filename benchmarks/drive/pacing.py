"""When the requests of a workload are sent: an open loop by the clock, a closed loop by users who wait. Pure values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Open:
    """Each request at its moment, whatever has become of those before it. Ends with whichever limit comes first."""

    duration_s: float | None = None
    requests: int | None = None

    def __post_init__(self) -> None:
        _check(self.duration_s, self.requests)


@dataclass(frozen=True, slots=True)
class Closed:
    """So many users, each with one request at a time and a pause of `think_s` after its answer.

    They come one after the other within `ramp_s`.
    """

    users: int
    think_s: float = 0.0
    duration_s: float | None = None
    requests: int | None = None
    ramp_s: float = 0.0

    def __post_init__(self) -> None:
        if self.users < 1:
            raise ValueError(f"{self.users} users ask nothing: at least 1 is needed.")
        if self.think_s < 0 or self.ramp_s < 0:
            raise ValueError("The time to think and the ramp cannot be below 0 s.")
        _check(self.duration_s, self.requests)


Pacing = Open | Closed


def _check(duration_s: float | None, requests: int | None) -> None:
    if duration_s is not None and not duration_s > 0:
        raise ValueError(f"A duration of {duration_s:g} s measures nothing: it must be above 0.")
    if requests is not None and requests < 1:
        raise ValueError(f"{requests} requests measure nothing: at least 1 is needed.")
