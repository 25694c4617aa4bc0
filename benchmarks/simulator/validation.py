"""How far a simulated engine is off real runs: recorded requests replayed, throughput and latencies beside each other.

A run is `STEM_vllm_requests.csv` (input_tokens, output_tokens, queued_s, first_token_s, last_token_s of each request)
with `STEM_vllm_meta.json` (the engine's arguments and its room for KV). Requests reach the simulated engine when they
reached the real one's scheduler.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from benchmarks.quantiles import quantile
from benchmarks.simulator.named import NAMED, kind_of
from benchmarks.simulator.sequence import Request
from benchmarks.simulator.setting import EngineKind
from benchmarks.workload.records import records_in

# What is aimed at, for throughput and medians.
AIM = 0.10


@dataclass(frozen=True, slots=True)
class Answer:
    """One request of a run, real or simulated."""

    sent_s: float
    first_s: float
    end_s: float
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one engine: as recorded and as simulated, by shipped coefficients or by the folder's tables."""

    engine: str
    speed: str
    figure: str
    recorded: float
    simulated: float

    @property
    def error(self) -> float:
        """As a share of what was recorded."""
        return self.simulated / self.recorded - 1


def validated(folder: Path) -> Sequence[Row]:
    """Every recorded run in the folder. Raises ValueError where there is none or one cannot be read, OSError too."""
    rows: list[Row] = []
    for name, named in NAMED.items():
        run = folder / f"{named.stem}_vllm_requests.csv"
        if run.exists():
            recorded = list(_recorded(run))
            speeds: dict[str, Path | None] = {"shipped": None}
            if (folder / f"{named.stem}_dense.csv.gz").exists():
                speeds["tables"] = folder
            for speed, tables in speeds.items():
                kind = _as_run(kind_of(name, tables, prefix_cache=True), run)
                rows += _compared(name, speed, recorded, _simulated(kind, run))
    if not rows:
        names = ", ".join(f"{named.stem}_vllm_requests.csv" for named in NAMED.values() if not named.is_profile)
        raise ValueError(f"{folder}: no recorded run in it; it needs one of {names}")
    return rows


def rows_table(rows: Sequence[Row]) -> Table:
    """A line for each engine and figure; an error beyond the aim is red where the aim holds for the figure."""
    made = Table(
        title="simulated beside recorded",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
    )
    for heading in ("engine", "speed from", "figure"):
        made.add_column(heading, no_wrap=True)
    for heading in ("recorded", "simulated", "error"):
        made.add_column(heading, justify="right")
    for row in rows:
        is_off = abs(row.error) > AIM and "p99" not in row.figure
        error = Text(f"{row.error:+.1%}", style="bold red" if is_off else "green")
        made.add_row(row.engine, row.speed, row.figure, f"{row.recorded:,.4g}", f"{row.simulated:,.4g}", error)
    return made


def _recorded(path: Path) -> Iterator[Answer]:
    for row in records_in(path):
        sent_s, first_s, end_s = (row.number(name) for name in ("queued_s", "first_token_s", "last_token_s"))
        yield Answer(sent_s, first_s, end_s, round(row.number("output_tokens")))


def _as_run(kind: EngineKind, run: Path) -> EngineKind:
    """The engine with the sizes that the run had. Raises ValueError where they cannot be read."""
    path = run.with_name(run.name.removesuffix("_requests.csv") + "_meta.json")
    try:
        said = json.loads(path.read_text())
        arguments, cache = said["engine_kwargs"], said.get("kv_cache", {})
        return replace(
            kind,
            kv_tokens=int(cache.get("num_kv_tokens", kind.kv_tokens)),
            max_batched_tokens=int(arguments["max_num_batched_tokens"]),
            max_sequences=int(arguments["max_num_seqs"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not say the engine's sizes ({error!r}); take it as upstream wrote it") from error


def _simulated(kind: EngineKind, run: Path) -> Sequence[Answer]:
    engine, requests = kind.made(), []
    for number, row in enumerate(records_in(run)):
        tokens = round(row.number("input_tokens")), round(row.number("output_tokens"))
        requests.append(Request(number, row.number("queued_s"), *tokens))
    for request in sorted(requests, key=lambda each: each.arrival_s):
        while engine.advance(request.arrival_s):
            pass
        engine.add(request, request.arrival_s)
    while not engine.is_idle:
        engine.advance(engine.due_s)
    return [_answer(request) for request in requests]


def _answer(request: Request) -> Answer:
    if request.first_s is None or request.end_s is None:
        raise RuntimeError(f"request {request.number} was never answered")
    return Answer(request.arrival_s, request.first_s, request.end_s, request.output_tokens)


def _compared(name: str, speed: str, recorded: Sequence[Answer], simulated: Sequence[Answer]) -> Iterator[Row]:
    for (figure, real), (_, ours) in zip(_figures(recorded), _figures(simulated), strict=True):
        yield Row(name, speed, figure, real, ours)


def _figures(answers: Sequence[Answer]) -> Iterator[tuple[str, float]]:
    span_s = max(each.end_s for each in answers) - min(each.sent_s for each in answers)
    ttfts_s = [each.first_s - each.sent_s for each in answers]
    tpots_s = [(each.end_s - each.first_s) / (each.output_tokens - 1) for each in answers if each.output_tokens > 1]
    yield "output tokens/s", sum(each.output_tokens for each in answers) / span_s
    yield "TTFT p50 s", quantile(ttfts_s, 0.5)
    yield "TTFT p99 s", quantile(ttfts_s, 0.99)
    yield "TPOT p50 ms", quantile(tpots_s, 0.5) * 1e3
    yield "TPOT p99 ms", quantile(tpots_s, 0.99) * 1e3
