"""Tables and figures of the verbs, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.table import Table
from rich.text import Text

UNKNOWN = "unknown"
PADDING = 2
# A column of sentences is wrapped, but not into less than this.
LEAST_WIDTH = 30


class Column(NamedTuple):
    """`is_whole`: never wrapped, as figures are not. Where the terminal is too narrow the column of the highest `rank`
    is left out; those of rank 0 always stay."""

    name: str
    is_number: bool = False
    is_whole: bool = True
    rank: int = 0


class Fitted:
    """A table that leaves out columns until it fits."""

    def __init__(self, columns: Sequence[Column], rows: Sequence[Sequence[Text | str]]) -> None:
        self._columns, self._rows = columns, rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, PADDING, 0, 0))
        kept = self._kept(options.max_width)
        for number in kept:
            column = self._columns[number]
            side: JustifyMethod = "right" if column.is_number else "left"
            table.add_column(column.name, justify=side, no_wrap=column.is_whole, overflow="fold")
        for row in self._rows:
            # A name with brackets is no markup.
            table.add_row(*(_text(row[number]) for number in kept))
        yield table

    def _kept(self, most: int) -> list[int]:
        kept = list(range(len(self._columns)))
        while sum(self._width(number) + PADDING for number in kept) - PADDING > most:
            least = max(kept, key=lambda number: self._columns[number].rank)
            if not self._columns[least].rank:
                break
            kept.remove(least)
        return kept

    def _width(self, number: int) -> int:
        column = self._columns[number]
        width = max(len(column.name), *(_text(row[number]).cell_len for row in self._rows), 0)
        return width if column.is_whole else min(width, LEAST_WIDTH)


def _text(cell: Text | str) -> Text:
    return Text(cell) if isinstance(cell, str) else cell


def dollars(usd: float | None, digits: int = 4) -> str:
    """What is too little for so many digits is not nothing."""
    if usd is not None and 0.0 < usd < 0.5 * 10**-digits:
        return f"<${10**-digits:.{digits}f}"
    return UNKNOWN if usd is None else f"${usd:,.{digits}f}"


def line(words: str, style: str = "") -> Text:
    return Text(words, style=style, overflow="fold")
