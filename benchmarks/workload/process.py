"""When requests come: endless moments of a Poisson, gamma or constant process. Pure; the randomness is handed in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate, count, repeat, takewhile
from random import Random


def poisson(rate: float, rng: Random) -> Iterator[float]:
    """Independent arrivals, `rate` a second on average: gaps are exponential. The first comes after one gap."""
    _check_rate(rate)
    return accumulate(rng.expovariate(rate) for _ in count())


def gamma(rate: float, burstiness: float, rng: Random) -> Iterator[float]:
    """Gaps by a gamma law of shape `burstiness` and mean 1 / `rate`, the meaning of `vllm bench serve --burstiness`.

    1 is Poisson; below 1 is burstier (the coefficient of variation is 1 / sqrt(burstiness)), above 1 more regular.
    """
    _check_rate(rate)
    if not 0 < burstiness < float("inf"):
        raise ValueError(f"--burstiness {burstiness:g} must be above 0; 1 is Poisson, 0.25 comes in bursts")
    return accumulate(rng.gammavariate(burstiness, 1 / (rate * burstiness)) for _ in count())


def constant(rate: float) -> Iterator[float]:
    """Every 1 / `rate` seconds, from 0. The n-th moment is computed from n: no error adds up."""
    _check_rate(rate)
    return (number / rate for number in count())


def at_once() -> Iterator[float]:
    """For users in a closed loop, who take the next request when they are ready."""
    return repeat(0.0)


def within(times: Iterable[float], duration_s: float) -> Iterator[float]:
    """Those before the end of the run."""
    return takewhile(lambda at_s: at_s < duration_s, times)


def _check_rate(rate: float) -> None:
    if not 0 < rate < float("inf"):
        raise ValueError(f"--rate {rate:g} must be above 0 requests per second")
