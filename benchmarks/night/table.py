"""How the rows look: on a terminal, as Markdown for a README, as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from benchmarks.night.judgement import Row

HEAD = (
    "fault", "engines", "sent", "home", "cloud", "refused", "errors", "wrong", "found s", "cloud s", "back s", "left",
    "verdict",
)  # fmt: skip
KEPT, MISSED = "kept", "MISSED"
LEGEND = (
    "errors: before / after the first token. found: from the fault until the supervisor says so; cloud: until the "
    "first answer from there is seen; back: until the plan is fulfilled and home answers again."
)


def cells(row: Row) -> tuple[str, ...]:
    """One line, as text."""
    figures: tuple[str, ...]
    if row.name == "down":
        figures = ("",) * 9
    else:
        counts = (row.sent, row.home, row.away, row.refused, f"{row.errors_before} / {row.errors_after}", row.wrong)
        figures = (*map(str, counts), *(_seconds(each) for each in (row.found_s, row.away_s, row.back_s)))
    return (row.name, row.engines, *figures, str(len(row.leftovers)), KEPT if row.is_kept else MISSED)


def shown(rows: Sequence[Row]) -> Table:
    """For a terminal."""
    table = Table(box=SIMPLE_HEAD, caption=LEGEND, caption_justify="left")
    for number, name in enumerate(HEAD):
        table.add_column(name, justify="left" if number in {0, 1, len(HEAD) - 1} else "right", no_wrap=True)
    for row in rows:
        *most, verdict = cells(row)
        table.add_row(*most, Text(verdict, style="green" if row.is_kept else "bold red"))
    return table


def missed(rows: Sequence[Row]) -> list[str]:
    """In sentences, what missed its aim."""
    return [f"{row.name} ({row.engines}): {miss}" for row in rows for miss in row.misses]


def markdown(rows: Sequence[Row]) -> str:
    """For a README."""
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    lines += [f"| {' | '.join(cells(row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def to_json(rows: Sequence[Row], machine: Mapping[str, Any]) -> str:
    """The whole suite as a file."""
    body = {"verb": "faults", "machine": machine, "is_kept": all(row.is_kept for row in rows)}
    return json.dumps(body | {"rows": [row.to_json() for row in rows]}, indent=1) + "\n"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if value < 1 else f"{value:.1f}"
