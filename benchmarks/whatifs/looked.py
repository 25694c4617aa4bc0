"""The rows of the hours that are looked at closely. Values; `looked_at` reads them from the ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.simulator.arrival import Arrival
from benchmarks.whatifs import ledger
from benchmarks.whatifs.hours import Window, offsets_s
from benchmarks.whatifs.row import Row
from benchmarks.whatifs.stack import Stack


@dataclass(frozen=True, slots=True)
class Looked:
    """Rows by window, in the order of arrival: those of one model, and `every` one that was there."""

    windows: tuple[Window, ...]
    rows: tuple[tuple[Row, ...], ...]
    every: tuple[tuple[Row, ...], ...]

    def weighted(self) -> Iterator[tuple[Row, float]]:
        """Each row and for how many it stands."""
        for window, rows in zip(self.windows, self.rows, strict=True):
            for row in rows:
                yield row, window.weight

    def arrivals(self) -> list[Arrival]:
        """Moved so that one window follows the other."""
        return [
            Arrival(row.arrived_s + offset_s, row.prompt_tokens, row.completion_tokens, row.tenant)
            for rows, offset_s in zip(self.rows, offsets_s(self.windows), strict=True)
            for row in rows
        ]

    def most_held_tokens(self) -> int:
        """The most that one engine had at once, as far as the rows show: of what it had begun to answer."""
        most = 0
        for rows in self.rows:
            changes: dict[str, list[tuple[float, int]]] = defaultdict(list)
            for row in rows:
                if row.is_local:
                    tokens = row.prompt_tokens + row.completion_tokens
                    changes[row.target] += [(row.first_s, tokens), (row.end_s, -tokens)]
            for each in changes.values():
                most = max(most, int(np.cumsum([tokens for _, tokens in sorted(each)]).max()))
        return most

    def longest_tokens(self) -> int:
        """Of one request, with its answer."""
        return max((row.prompt_tokens + row.completion_tokens for row, _ in self.weighted()), default=0)


def looked_at(path: Path, model: str, stack: Stack, windows: tuple[Window, ...]) -> Looked:
    """Raises ValueError where the ledger cannot be read."""
    every = tuple(tuple(rows) for rows in ledger.rows_in(path, windows))
    return Looked(windows, tuple(tuple(row for row in rows if stack.model_of(row) == model) for rows in every), every)
