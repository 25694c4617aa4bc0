"""The requests of a trace as the simulator takes them: when, how long, whose, and which blocks of prompt they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

from benchmarks.workload.shape import Segment, Shape
from benchmarks.workload.trace import BLOCK_TOKENS, Sampling, TraceKind, spread, trace_in

# A clock that never tells less than this apart was rounded: its arrivals are spread over what it was rounded to.
ROUNDED_S = 1.0


class Arrival(NamedTuple):
    """`prefix` are ids of the prompt's leading blocks of 512 tokens; equal leading ids are equal leading text."""

    at_s: float
    prompt_tokens: int
    output_tokens: int
    tenant: str | None = None
    prefix: tuple[int, ...] = ()


def arrivals_in(
    path: Path, kind: TraceKind = TraceKind.AUTO, sampling: Sampling | None = None, limit_s: float | None = None
) -> list[Arrival]:
    """In order, the first at 0 s. Raises ValueError with a sentence where the trace cannot be read or tells no lengths.

    Arrivals of a clock that was rounded to seconds (Mooncake's to 3 s) are spread over each tick, by the seed.
    """
    sampling = sampling or Sampling()
    shapes = trace_in(path, kind, sampling)
    if limit_s is not None:
        shapes = _until(shapes, limit_s)
    found = list(_arrivals(shapes, path))
    tick_s = _tick_s(found)
    return _spread(found, tick_s, Random(f"{sampling.seed} spread")) if tick_s >= ROUNDED_S else found


def rate_of(arrivals: Sequence[Arrival]) -> float:
    """Requests a second, over the time from the first to the last."""
    return len(arrivals) / span_s(arrivals)


def span_s(arrivals: Sequence[Arrival]) -> float:
    """How long the trace lasts. Raises ValueError where all its requests come at once."""
    lasts_s = arrivals[-1].at_s - arrivals[0].at_s
    if lasts_s <= 0:
        raise ValueError("the trace has no length in time: it needs requests at two moments at least")
    return lasts_s


def _until(shapes: Iterable[Shape], limit_s: float) -> Iterator[Shape]:
    for shape in shapes:
        if shape.at_s > limit_s:
            return
        yield shape


def _arrivals(shapes: Iterable[Shape], path: Path) -> Iterator[Arrival]:
    """Whoever has no tenant shares one; ids of blocks are given in the order in which they are met."""
    ids: dict[tuple[str, int], int] = {}
    for shape in shapes:
        if not shape.input_tokens or shape.output_tokens is None:
            raise ValueError(f"{path} tells no lengths of its requests, and without them nothing can be simulated")
        yield Arrival(
            shape.at_s,
            shape.input_tokens,
            shape.output_tokens,
            shape.tenant or None,
            _blocks(shape.segments, shape.input_tokens, ids) if shape.segments else (),
        )


def _blocks(segments: Sequence[Segment], prompt_tokens: int, ids: dict[tuple[str, int], int]) -> tuple[int, ...]:
    """A block is known by its place in the prompt and the segment in which it ends: a segment follows one beginning."""
    found: list[int] = []
    ends, place = 0, 0
    for key, tokens in segments:
        ends += tokens
        while (place + 1) * BLOCK_TOKENS <= min(ends, prompt_tokens):
            found.append(ids.setdefault((key, place), len(ids)))
            place += 1
    return tuple(found)


def _tick_s(arrivals: Sequence[Arrival]) -> float:
    """The least time between two moments; 0 where no two requests come together, as no rounded clock would have it."""
    gaps_s = [later.at_s - earlier.at_s for earlier, later in pairwise(arrivals)]
    if not gaps_s or min(gaps_s) > 0:
        return 0.0
    return min((gap_s for gap_s in gaps_s if gap_s > 0), default=0.0)


def _spread(arrivals: Iterable[Arrival], tick_s: float, rng: Random) -> list[Arrival]:
    """As workload.trace.spread does with shapes."""
    shapes = spread((Shape(each.at_s, number) for number, each in enumerate(arrivals)), tick_s, rng)
    kept = list(arrivals)
    return [kept[shape.input_tokens]._replace(at_s=shape.at_s) for shape in shapes]
