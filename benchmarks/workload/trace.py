"""Traces of real arrivals: azure, mooncake, servegen, agentic and one's own, as shapes of requests. Reads files.

Own traces are CSV or JSON lines with the columns at_s (or arrival_s, or timestamp_ms), input_tokens, output_tokens and
optionally tier, task, tenant, prompt, prefix_id with prefix_tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from random import Random
from types import MappingProxyType

from benchmarks.workload.records import Record, records_in
from benchmarks.workload.shape import Segment, Shape

MS_PER_S = 1000
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
    OWN = "own"


def trace_in(path: Path, kind: TraceKind = TraceKind.AUTO) -> Iterator[Shape]:
    """In order, the first at 0 s. Raises ValueError with a sentence: no row, no such column, an earlier time."""
    shapes = _ordered(path, records_in(path), kind)
    first = next(shapes, None)
    if first is None:
        raise ValueError(f"{path}: there is no request in it; it needs a row for each, below the names of the columns")
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


def _ordered(path: Path, records: Iterable[Record], kind: TraceKind) -> Iterator[Shape]:
    last_s = float("-inf")
    shape_of: Callable[[Record], Shape] | None = None
    for record in records:
        shape_of = shape_of or _reader(record, kind)
        shape = shape_of(record)
        if shape.at_s < last_s:
            raise ValueError(f"{record.where}: it comes before the line above it; sort {path.name} by time")
        last_s = shape.at_s
        yield shape


def _reader(record: Record, kind: TraceKind) -> Callable[[Record], Shape]:
    """How rows like this one are read. Raises ValueError where a column is missing."""
    if kind is TraceKind.AUTO:
        kind = next((found for found, column in TELLING.items() if column in record.values), TraceKind.OWN)
    time, inputs, outputs = (_column(record, names) for names in (TIMES, INPUTS, OUTPUTS))
    needed = TELLING.get(kind)
    if needed and needed not in record.values and kind is not TraceKind.AZURE:
        raise ValueError(f"{record.where}: no column {needed}, which a {kind} trace has; try --trace-kind auto")
    more = MORE.get(kind, _own)

    def shape_of(record: Record) -> Shape:
        shape = Shape(_moment(record, time), _tokens(record, inputs), _tokens(record, outputs))
        return more(record, shape)

    return shape_of


def _column(record: Record, names: tuple[str, ...]) -> str:
    found = next((name for name in names if name in record.values), None)
    if found is None:
        there = ", ".join(record.values) or "none"
        raise ValueError(f"{record.where}: no column {names[0]} (the columns are {there}); add it or rename one")
    return found


def _tokens(record: Record, column: str) -> int:
    """At least 1: an engine answers nothing to less, and logs count the empty answers of failed requests too."""
    return max(round(record.number(column)), 1)


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


# The column by which a kind is known.
TELLING: Mapping[TraceKind, str] = MappingProxyType(
    {TraceKind.MOONCAKE: "hash_ids", TraceKind.SERVEGEN: "client", TraceKind.AZURE: "ContextTokens"}
)
MORE: Mapping[TraceKind, Callable[[Record, Shape], Shape]] = MappingProxyType(
    {TraceKind.MOONCAKE: _mooncake, TraceKind.SERVEGEN: _servegen}
)
