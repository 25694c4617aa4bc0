"""The tables of `relay`: medians over the rounds, the router beside the engine itself.

Pure: blocks in, tables out. A round that others disturbed is left out where another round is clean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.block import Block
from benchmarks.quantiles import Spread
from benchmarks.scenario import SCENARIOS

# A router that used less than this share of its core cannot be divided by.
LEAST_CPU = 0.02
Figure = Callable[[Block, Block | None], float | None]


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, the figure of one block (and of the direct one of the same round), and its decimals."""

    heading: str
    figure: Figure
    decimals: int = 0


def _quantile(name: str, quantile: str, scale: float) -> Figure:
    def figure(block: Block, _: Block | None) -> float | None:
        spread: Spread | None = getattr(block.summary, name)
        return None if spread is None else getattr(spread, quantile) * scale

    return figure


def _added(figure: Figure) -> Figure:
    def added(block: Block, direct: Block | None) -> float | None:
        if direct is None or direct is block:
            return None
        with_router, without = figure(block, None), figure(direct, None)
        return None if with_router is None or without is None else with_router - without

    return added


def _per_cpu(rate: Callable[[Block], float]) -> Figure:
    def figure(block: Block, _: Block | None) -> float | None:
        return None if not block.router_cpu or block.router_cpu < LEAST_CPU else rate(block) / block.router_cpu

    return figure


def _cpu_us_a_token(block: Block, _: Block | None) -> float | None:
    if block.router_cpu is None or not block.summary.tokens_per_s:
        return None
    return 1e6 * block.router_cpu / block.summary.tokens_per_s


def _of_offered(block: Block, direct: Block | None) -> float | None:
    return None if direct is None else 100 * block.summary.tokens_per_s / max(1.0, direct.summary.tokens_per_s)


CPU = Column("router CPU %", lambda block, _: None if block.router_cpu is None else 100 * block.router_cpu)
RSS = Column("RSS MB", lambda block, _: None if block.rss_bytes is None else block.rss_bytes / 1e6)
TTFT_P50 = _quantile("ttft_s", "p50", 1e3)
TTFT_P99 = _quantile("ttft_s", "p99", 1e3)
LATENCY_P50 = _quantile("latency_s", "p50", 1e6)
LATENCY_P99 = _quantile("latency_s", "p99", 1e6)
PACED = (
    Column("tokens/s", lambda block, _: block.summary.tokens_per_s),
    Column("% of offered", _of_offered),
    Column("added TTFT p50 ms", _added(TTFT_P50), 2),
    Column("p99 ms", _added(TTFT_P99), 2),
    Column("gap p99 ms", _quantile("gap_s", "p99", 1e3), 1),
    CPU,
    Column("CPU us a token", _cpu_us_a_token, 1),
    RSS,
)
COLUMNS = {
    "a": (
        Column("p50 us", LATENCY_P50),
        Column("p99 us", LATENCY_P99),
        Column("added p50 us", _added(LATENCY_P50)),
        Column("added p99 us", _added(LATENCY_P99)),
        RSS,
    ),
    "b": (
        Column("requests/s", lambda block, _: block.summary.requests_per_s),
        Column("p50 ms", _quantile("latency_s", "p50", 1e3), 2),
        Column("p99 ms", _quantile("latency_s", "p99", 1e3), 2),
        CPU,
        Column("requests per router-CPU-s", _per_cpu(lambda block: block.summary.requests_per_s)),
        RSS,
    ),
    "c": (
        Column("tokens/s", lambda block, _: block.summary.tokens_per_s),
        CPU,
        Column("tokens per router-CPU-s", _per_cpu(lambda block: block.summary.tokens_per_s)),
        Column("TTFT p50 ms", TTFT_P50, 1),
        Column("events per read", lambda block, _: block.summary.events_per_read, 1),
        RSS,
    ),
    "d": PACED,
    "e": PACED,
}


def tables(blocks: Sequence[Block]) -> list[Table]:
    """One for each scenario that was measured."""
    return [_table(key, [block for block in blocks if block.scenario == key]) for key in _distinct(blocks, "scenario")]


def _distinct(blocks: Sequence[Block], name: str) -> list[str]:
    return list(dict.fromkeys(sorted(str(getattr(block, name)) for block in blocks)))


def _table(key: str, blocks: Sequence[Block]) -> Table:
    title = f"{key}: {SCENARIOS[key].title}"
    made = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    made.add_column("", no_wrap=True)
    for column in COLUMNS[key]:
        made.add_column(column.heading, justify="right")
    made.add_column("complete", justify="right", no_wrap=True)
    direct = {block.round: block for block in blocks if block.side == "direct"}
    for side in _distinct(blocks, "side"):
        every = [block for block in blocks if block.side == side]
        kept = undisturbed(every)
        cells = [
            _cell(column, [column.figure(block, direct.get(block.round)) for block in kept]) for column in COLUMNS[key]
        ]
        made.add_row(_name(side, every), *cells, completeness(every))
    return made


def undisturbed(blocks: Sequence[Block]) -> Sequence[Block]:
    """The rounds that count: the clean ones, or all where none is."""
    return [block for block in blocks if not block.is_disturbed] or blocks


def _name(side: str, blocks: Sequence[Block]) -> str:
    clean = sum(not block.is_disturbed for block in blocks)
    if clean == len(blocks):
        return side
    return f"{side} ({clean} of {len(blocks)} rounds)" if clean else f"{side} (disturbed)"


def _cell(column: Column, figures: Sequence[float | None]) -> str:
    known = [each for each in figures if each is not None]
    if not known:
        return "-"
    middle = f"{median(known):,.{column.decimals}f}"
    if len(known) == 1:
        return middle
    return f"{middle} [dim]{min(known):,.{column.decimals}f}..{max(known):,.{column.decimals}f}[/]"


def completeness(blocks: Sequence[Block]) -> str:
    """Whether every answer of these blocks was whole, or how many were not."""
    faults = sum(sum(block.summary.faults.values()) for block in blocks)
    unfinished = sum(block.summary.unfinished for block in blocks)
    complete = sum(block.summary.complete for block in blocks)
    if faults or unfinished:
        return f"[red]{faults:,} not, {unfinished:,} unfinished[/]"
    return f"all {complete:,}" if complete else "[red]none[/]"
