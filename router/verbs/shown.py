"""Tables and figures of the verbs, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

UNKNOWN = "unknown"


class Column(NamedTuple):
    """`is_whole`: never wrapped, as figures are not."""

    name: str
    is_number: bool = False
    is_whole: bool = True


def table(columns: Sequence[Column], rows: Sequence[Sequence[Text | str]]) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(
            column.name, justify="right" if column.is_number else "left", no_wrap=column.is_whole, overflow="fold"
        )
    for row in rows:
        # A name with brackets is no markup.
        made.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return made


def dollars(usd: float | None, digits: int = 4) -> str:
    return UNKNOWN if usd is None else f"${usd:,.{digits}f}"


def line(words: str, style: str = "") -> Text:
    return Text(words, style=style, overflow="fold")
