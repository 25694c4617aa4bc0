"""A table of rates over time (ServeGen's) as shapes without lengths: a Poisson process that follows the table. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

from benchmarks.workload.records import Record
from benchmarks.workload.shape import Shape


def rates_in(records: Iterable[Record], keep: float, rng: Random) -> Iterator[Shape]:
    """Arrivals of the first pool of the table, `keep` of its requests. The last slot lasts as long as the one before.

    Within a slot the rate is constant. Lengths are not told: `input_tokens` is 0. Raises ValueError with a sentence.
    """
    began_s, rate, length_s, pool = 0.0, 0.0, 0.0, None
    for record in records:
        pool = pool or record.text("pool")
        if record.text("pool") != pool:
            break
        start_s = record.number("slot_start_s")
        if start_s < began_s:
            raise ValueError(
                f"{record.where}: its slot begins before the one above it; sort {record.path.name} by time"
            )
        length_s = start_s - began_s
        yield from _slot(began_s, length_s, rate * keep, rng)
        began_s, rate = start_s, record.number("req_per_s")
    yield from _slot(began_s, length_s, rate * keep, rng)


def _slot(began_s: float, length_s: float, rate: float, rng: Random) -> Iterator[Shape]:
    at_s = rng.expovariate(rate) if rate else length_s
    while at_s < length_s:
        yield Shape(began_s + at_s, 0)
        at_s += rng.expovariate(rate)
