"""Traces of real arrivals: azure, mooncake, servegen, agentic and one's own, as shapes of requests. Reads files.

Own traces are CSV or JSON lines with the columns at_s (or arrival_s, or timestamp_ms), input_tokens, output_tokens and
optionally tier, task, tenant, prompt, prefix_id with prefix_tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain, groupby
from operator import attrgetter
from pathlib import Path
from random import Random
from types import MappingProxyType

from benchmarks.workload.lengths import MOST
from benchmarks.workload.process import poisson
from benchmarks.workload.rates import rates_in
from benchmarks.workload.records import Record, records_in
from benchmarks.workload.sessions import sessions_in
from benchmarks.workload.shape import Segment, Shape

MS_PER_S = 1000
S_PER_H = 3600
BLOCK_TOKENS = 512
TIMES = ("at_s", "arrival_s", "timestamp_ms", "timestamp", "TIMESTAMP")
INPUTS = ("input_tokens", "input_length", "ContextTokens", "prompt_tokens")
OUTPUTS = ("output_tokens", "output_length", "GeneratedTokens", "completion_tokens")


class TraceKind(StrEnum):
    """Whose columns. `auto` finds out from the first row."""

    AUTO = "auto"
    AZURE = "azure"
    MOONCAKE = "mooncake"
    SERVEGEN = "servegen"
    AGENTIC = "agentic"
    RATES = "rates"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class Sampling:
    """What of a trace is taken: a share of its requests (or sessions), and how often sessions begin."""

    keep: float = 1.0
    sessions_per_h: float = 60.0
    seed: int = 0


WHOLE = Sampling()


def trace_in(path: Path, kind: TraceKind = TraceKind.AUTO, sampling: Sampling = WHOLE) -> Iterator[Shape]:
    """In order, the first at 0 s. Raises ValueError with a sentence: no row, no such column, an earlier time."""
    records = records_in(path)
    row = next(records, None)
    if row is None:
        raise ValueError(f"{path}: there is no request in it; it needs a row for each, below the names of the columns")
    shapes = _shapes(row, chain([row], records), kind, sampling)
    first = next(shapes, None)
    if first is None:
        raise ValueError(f"{path}: no request is left of it; --keep {sampling.keep:g} is too small a share")
    yield replace(first, at_s=0.0)
    for shape in shapes:
        yield replace(shape, at_s=shape.at_s - first.at_s)


def cut(shapes: Iterable[Shape], *, start_s: float, scale: float, limit_s: float | None) -> Iterator[Shape]:
    """From `start_s` of the trace on, `scale` times as fast, so long as the run is to last."""
    for shape in shapes:
        at_s = (shape.at_s - start_s) / scale
        if limit_s is not None and at_s >= limit_s:
            return
        if at_s >= 0:
            yield replace(shape, at_s=at_s)


def spread(shapes: Iterable[Shape], within_s: float, rng: Random) -> Iterator[Shape]:
    """Arrivals of one moment spread over the `within_s` after it: for traces whose clock was rounded to so much."""
    for at_s, together in groupby(shapes, key=attrgetter("at_s")):
        moments = list(together)
        for shape, late_s in zip(moments, sorted(rng.uniform(0, within_s) for _ in moments), strict=True):
            yield replace(shape, at_s=at_s + late_s)


def _shapes(row: Record, records: Iterator[Record], kind: TraceKind, sampling: Sampling) -> Iterator[Shape]:
    if kind is TraceKind.AUTO:
        kind = next((found for found, column in TELLING.items() if column in row.values), TraceKind.OWN)
    rng = Random(f"{sampling.seed} trace")
    for column in NEEDED.get(kind, ()):
        if column not in row.values:
            raise ValueError(f"{row.where}: no column {column}, which a {kind} trace has; try --trace-kind auto")
    if kind is TraceKind.RATES:
        return rates_in(records, sampling.keep, rng)
    if kind is TraceKind.AGENTIC:
        return iter(sessions_in(records, poisson(sampling.sessions_per_h / S_PER_H, rng), sampling.keep, rng))
    shapes = _ordered(records, _reader(row, MORE.get(kind, _own)))
    return shapes if sampling.keep == 1 else (shape for shape in shapes if rng.random() < sampling.keep)


def _ordered(records: Iterable[Record], shape_of: Callable[[Record], Shape]) -> Iterator[Shape]:
    last_s = float("-inf")
    for record in records:
        shape = shape_of(record)
        if shape.at_s < last_s:
            raise ValueError(f"{record.where}: it comes before the line above it; sort {record.path.name} by time")
        last_s = shape.at_s
        yield shape


def _reader(row: Record, more: Callable[[Record, Shape], Shape]) -> Callable[[Record], Shape]:
    """How rows like this one are read. Raises ValueError where a column is missing."""
    time, inputs, outputs = (_column(row, names) for names in (TIMES, INPUTS, OUTPUTS))
    return lambda record: more(record, Shape(_moment(record, time), _tokens(record, inputs), _tokens(record, outputs)))


def _column(record: Record, names: tuple[str, ...]) -> str:
    found = next((name for name in names if name in record.values), None)
    if found is None:
        there = ", ".join(record.values) or "none"
        raise ValueError(f"{record.where}: no column {names[0]} (the columns are {there}); add it or rename one")
    return found


def _tokens(record: Record, column: str) -> int:
    """At least 1: an engine answers nothing to less, and logs count the empty answers of failed requests too."""
    tokens = round(record.number(column))
    if tokens > MOST:
        raise ValueError(f"{record.where}: column {column} is {tokens:g} tokens, which nothing takes; mend the line")
    return max(tokens, 1)


def _moment(record: Record, column: str) -> float:
    if column != "TIMESTAMP":
        return record.number(column) / (MS_PER_S if column.startswith("timestamp") else 1)
    try:
        moment = datetime.fromisoformat(record.text(column))
    except ValueError:
        raise ValueError(f"{record.where}: column {column} must be a date with a time; mend the line") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _own(record: Record, shape: Shape) -> Shape:
    segments: tuple[Segment, ...] = ()
    if record.text("prefix_id"):
        if not record.text("prefix_tokens"):
            raise ValueError(f"{record.where}: prefix_id needs a column prefix_tokens, how many tokens it shares")
        segments = (Segment(record.text("prefix_id"), round(record.number("prefix_tokens"))),)
    return replace(
        shape,
        tier=record.text("tier"),
        task=record.text("task"),
        tenant=record.text("tenant"),
        text=record.text("prompt"),
        segments=segments,
    )


def _mooncake(record: Record, shape: Shape) -> Shape:
    """`hash_ids` are the prompt's blocks of 512 tokens; two prompts share those of a common leading run."""
    blocks = record.values.get("hash_ids")
    if not isinstance(blocks, list) or not all(isinstance(block, int) for block in blocks):
        raise ValueError(f"{record.where}: column hash_ids must be a list of whole numbers, such as [0, 1, 2]")
    return replace(shape, segments=tuple(Segment(f"block {block}", BLOCK_TOKENS) for block in blocks))


def _servegen(record: Record, shape: Shape) -> Shape:
    return replace(shape, tenant=record.text("client"))


# The column by which a kind is known, and those without which it cannot be read.
TELLING: Mapping[TraceKind, str] = MappingProxyType(
    {
        TraceKind.MOONCAKE: "hash_ids",
        TraceKind.AGENTIC: "prefix_hit_tokens",
        TraceKind.RATES: "slot_start_s",
        TraceKind.SERVEGEN: "client",
        TraceKind.AZURE: "ContextTokens",
    }
)
NEEDED: Mapping[TraceKind, Sequence[str]] = MappingProxyType(
    {
        TraceKind.MOONCAKE: ("hash_ids",),
        TraceKind.AGENTIC: ("session", "branch", "t_s", "input_tokens", "output_tokens", "prefix_hit_tokens"),
        TraceKind.RATES: ("slot_start_s", "req_per_s"),
        TraceKind.SERVEGEN: ("client",),
    }
)
MORE: Mapping[TraceKind, Callable[[Record, Shape], Shape]] = MappingProxyType(
    {TraceKind.MOONCAKE: _mooncake, TraceKind.SERVEGEN: _servegen}
)
