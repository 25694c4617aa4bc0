"""Agentic sessions as shapes: requests of one session share what was said in it before. Pure.

A trace of sessions has no clock of its own: each begins at a moment of a process that is handed in. Requests come at
the times of their session, whether or not the answer before them has come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from random import Random

from benchmarks.workload.records import Record
from benchmarks.workload.shape import Segment, Shape


def sessions_in(records: Iterable[Record], starts: Iterator[float], keep: float, rng: Random) -> list[Shape]:
    """In order of time, `keep` of the sessions. Raises ValueError, with a sentence, on a row that cannot be read."""
    found: list[Shape] = []
    for _, rows in groupby(records, key=lambda record: record.text("session")):
        if rng.random() < keep:
            found += _session(rows, next(starts))
    return sorted(found, key=attrgetter("at_s"))


def _session(rows: Iterable[Record], start_s: float) -> Iterator[Shape]:
    """`prefix_hit_tokens` of a request are the beginning of the one before it on the same branch; the rest is new."""
    said: dict[str, tuple[Segment, ...]] = {}
    for row in rows:
        branch = row.text("branch")
        tokens = max(round(row.number("input_tokens")), 1)
        shared = _leading(said.get(branch, ()), min(round(row.number("prefix_hit_tokens")), tokens))
        new = tokens - sum(segment.tokens for segment in shared)
        key = f"session {row.text('session')} line {row.line}"
        said[branch] = (*shared, Segment(key, new)) if new else shared
        yield Shape(
            at_s=start_s + row.number("t_s"),
            input_tokens=tokens,
            output_tokens=max(round(row.number("output_tokens")), 1),
            segments=said[branch],
            tenant=f"session-{row.text('session')}",
        )


def _leading(segments: Iterable[Segment], tokens: int) -> tuple[Segment, ...]:
    """So many tokens of them, the last one cut."""
    found = []
    for segment in segments:
        if tokens <= 0:
            break
        found.append(segment if segment.tokens <= tokens else Segment(segment.key, tokens))
        tokens -= segment.tokens
    return tuple(found)
