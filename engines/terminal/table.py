"""What runs, as tables for a terminal: endpoint, engines, GPUs, tiers, clouds, and what is wrong in whole sentences.

Takes values, returns things to print.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from engines.elsewhere.listed import UNKNOWN_CONTEXT_TOKENS
from engines.snapshot import EngineState, EngineView, GpuState, GpuView, Snapshot
from engines.terminal.ages import ago
from ground.table import Column, Fitted

GIB, MIB = 2**30, 2**20
UUID_SHOWN = 12
# Figures older than this are not of now: engines tell theirs every second, GPUs are read every other.
OLD_S = 5.0
_COLOURS = {
    EngineState.READY: "green",
    EngineState.FAILED: "red",
    EngineState.QUARANTINED: "red",
    EngineState.DRAINING: "yellow",
    GpuState.OK: "green",
    GpuState.SLOWED: "yellow",
}


def render_stack(
    snapshot: Snapshot,
    status: Mapping[str, Any] | None,
    host: str,
    port: int,
    last_words: Mapping[str, Sequence[str]] | None = None,
) -> RenderableType:
    """The whole stack; `status` is what the router says of itself, None if it does not answer. `last_words` are ends of
    logs by engine, shown whole."""
    parts: list[RenderableType] = [_endpoint(status, host, port)]
    parts += [_line(f"under way: {snapshot.busy}", "yellow")] if snapshot.busy else []
    parts += [_line(f"the newest change is refused: {snapshot.refused}", "red")] if snapshot.refused else []
    parts.append(_engines(snapshot))
    parts += [Group(*notes)] if (notes := _notes(snapshot)) else []
    parts += [_gpus(snapshot.gpus)] if snapshot.gpus else []
    parts += [Group(*troubles)] if (troubles := _troubles(snapshot.gpus)) else []
    parts += [_last(name, lines) for name, lines in (last_words or {}).items() if lines]
    return Group(*(each for part in [*parts, *render_router(status)] for each in (part, "")))


def render_router(status: Mapping[str, Any] | None) -> list[RenderableType]:
    """What the router alone knows: tiers, clouds, preset, spend."""
    said = status or {}
    parts: list[RenderableType] = [_tiers(tiers)] if (tiers := said.get("tiers")) else []
    parts += [_clouds(clouds)] if (clouds := said.get("clouds")) else []
    if preset := said.get("preset"):
        parts.append(_line(f"preset       {preset}{_cost(said.get('cost_per_job') or {})}"))
    if spend := said.get("spend"):
        parts.append(
            _line(f"spent today  ${spend['today_usd']:.4f} of ${spend['cloud_usd_per_day']:.2f}{_also(spend)}")
        )
        if short := (spend.get("pacing") or {}).get("short"):
            parts.append(_line(short, "yellow"))
        if why := spend.get("ledger"):
            parts.append(_line(f"the ledger cannot be written, so no cloud is asked: {why}", "red"))
        if lost := spend.get("lost_outcomes"):
            parts.append(_line(f"{lost} requests could not be written to the ledger", "red"))
    return parts


def _also(spend: Mapping[str, Any]) -> str:
    """The other periods that have a budget."""
    capped = [period for period in ("hour", "month") if spend.get(f"cloud_usd_per_{period}") is not None]
    said = (f"this {each} ${spend[f'{each}_usd']:.4f} of ${spend[f'cloud_usd_per_{each}']:.2f}" for each in capped)
    return "".join(f", {each}" for each in said)


def _cost(usd_per_job: Mapping[str, float | None]) -> str:
    """Of each job under the preset; a price that nobody knows is never zero."""
    said = (f"{job} {'unknown' if usd is None else f'${usd:.4f}'} a job" for job, usd in usd_per_job.items())
    return "".join(f", {each}" for each in said)


def _endpoint(status: Mapping[str, Any] | None, host: str, port: int) -> RenderableType:
    if status is None:
        return _line(f"endpoint  http://{host}:{port}/v1  (the router does not answer)", "red")
    return _line(f"endpoint  {status.get('endpoint') or f'http://{host}:{port}/v1'}")


def _last(name: str, lines: Sequence[str]) -> RenderableType:
    said = Text("\n".join(lines), style="dim", overflow="fold")
    return Group(_line(f"the last {len(lines)} lines of {name}:"), Padding(said, (0, 0, 0, 2), expand=False))


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, overflow="fold")


def _engines(snapshot: Snapshot) -> RenderableType:
    columns = (
        Column("ENGINE"),
        Column("STATE"),
        Column("DEVICE", 3),
        Column("MODEL", 8),
        Column("CONTEXT", 6, True),
        Column("KV TOKENS", 7, True),
        Column("RUN", 1, True),
        Column("WAIT", 1, True),
        Column("HEARD", 5, True),
        Column("MEMORY", 4, True),
        Column("RESTARTS", 2, True),
    )
    return Fitted(columns, [_engine(engine, snapshot.gpus) for engine in snapshot.engines])


def _engine(engine: EngineView, gpus: Sequence[GpuView]) -> tuple[Text | str, ...]:
    load = engine.load
    run, wait, heard = (str(load.running), str(load.waiting), _age(load.age_s)) if load else ("-", "-", "-")
    return (
        f"local/{engine.name}",
        Text(f"{engine.state} {ago(engine.in_state_s)}", style=_COLOURS.get(engine.state, "")),
        _device(engine.device, gpus),
        engine.model,
        f"{engine.context_tokens:,}" if engine.context_tokens != UNKNOWN_CONTEXT_TOKENS else "-",
        f"{load.kv_capacity_tokens:,}" if load and load.kv_capacity_tokens else "-",
        run,
        wait,
        heard,
        "-" if engine.memory_bytes is None else _gib(engine.memory_bytes),
        str(engine.restarts),
    )


def _age(age_s: float) -> Text:
    return Text(f"{age_s:.1f} s" if age_s < OLD_S else ago(age_s), style="yellow" if age_s >= OLD_S else "")


def _notes(snapshot: Snapshot) -> list[RenderableType]:
    """What does not fit in a cell: a line for each thing that is said of an engine."""
    return [
        _line(f"local/{engine.name}: {words}", style) for engine in snapshot.engines for words, style in _of(engine)
    ]


def _of(engine: EngineView) -> list[tuple[str, str]]:
    is_down = engine.state in (EngineState.FAILED, EngineState.QUARANTINED)
    found = [(engine.progress, "")] if engine.progress else []
    if engine.last_error:
        tries = f" ({engine.failed_starts} failed starts in a row)" if engine.failed_starts > 1 else ""
        before = "" if is_down else "ended before: "
        found.append((f"{before}{engine.last_error}{tries}", "red" if is_down else ""))
    found += [(f"runs otherwise than planned: {engine.changes}", "")] if engine.changes else []
    found += [("was adopted from an earlier supervisor", "")] if engine.is_adopted else []
    if engine.load and engine.load.age_s >= OLD_S:
        found.append((f"has told nothing of its load for {ago(engine.load.age_s)}", "yellow"))
    found += [(f"its GPU is slowed down: it counts as {engine.weight:g} of one", "yellow")] if engine.weight < 1 else []
    return found


def _device(device: str, gpus: Sequence[GpuView]) -> str:
    """GPUs by their number in the table below."""
    numbers = {gpu.uuid: str(number) for number, gpu in enumerate(gpus)}
    parts = device.split(",")
    if all(part in numbers for part in parts):
        return f"GPU {','.join(numbers[part] for part in parts)}"
    return ",".join(part[:UUID_SHOWN] for part in parts)


def _gpus(gpus: Sequence[GpuView]) -> RenderableType:
    columns = (
        Column("GPU"),
        Column("NAME", 5),
        Column("STATE"),
        Column("USED", 1, True),
        Column("OF", 1, True),
        Column("OTHERS", 3, True),
        Column("TEMP", 2, True),
        Column("POWER", 4, True),
        Column("READ", 6, True),
    )
    return Fitted(columns, [_gpu(number, gpu) for number, gpu in enumerate(gpus)])


def _gpu(number: int, gpu: GpuView) -> tuple[Text | str, ...]:
    return (
        f"{number} {gpu.uuid[:UUID_SHOWN]}",
        gpu.name.removeprefix("NVIDIA "),
        Text(f"{gpu.state} {ago(gpu.in_state_s)}", style=_COLOURS.get(gpu.state, "red")),
        _gib(gpu.used_bytes),
        _gib(gpu.total_bytes),
        "-" if gpu.foreign_bytes is None else _gib(gpu.foreign_bytes),
        "-" if gpu.temperature_c is None else f"{gpu.temperature_c} °C",
        "-" if gpu.power_w is None else f"{gpu.power_w:.0f} W",
        _age(gpu.age_s),
    )


def _troubles(gpus: Sequence[GpuView]) -> list[RenderableType]:
    found: list[RenderableType] = [
        _line(
            f"GPU {number} ({gpu.uuid}): {gpu.why}", "" if gpu.state is GpuState.OK else _COLOURS.get(gpu.state, "red")
        )
        for number, gpu in enumerate(gpus)
        if gpu.why
    ]
    oldest_s = max((gpu.age_s for gpu in gpus), default=0.0)
    return found + ([_line(f"the GPUs were read {ago(oldest_s)} ago", "yellow")] if oldest_s >= OLD_S else [])


def _gib(count: int) -> str:
    if 0 < count < GIB / 10:
        return f"{max(1, round(count / MIB))} MiB"
    return f"{count / GIB:.1f} GiB"


def _tiers(tiers: Sequence[Mapping[str, Any]]) -> RenderableType:
    columns = (Column("TIER"), Column("TTFT TARGET", 2), Column("ORDER"), Column("MAY SPILL", 1))
    rows = [
        (each["name"], f"{each['ttft_target_s']:g} s", ", ".join(each["order"]), "yes" if each["may_spill"] else "no")
        for each in tiers
    ]
    return Fitted(columns, rows)


def _clouds(clouds: Sequence[Mapping[str, Any]]) -> RenderableType:
    columns = (Column("CLOUD"), Column("MODEL", 1), Column("$/M IN", 2, True), Column("OUT", 3, True), Column("STATE"))
    notes = [_line(f"cloud/{each['name']}: {each['why']}") for each in clouds if each["why"]]
    return Group(Fitted(columns, [_cloud(each) for each in clouds]), *notes)


def _cloud(cloud: Mapping[str, Any]) -> tuple[str, ...]:
    prices = (cloud.get("input_usd_per_mtok"), cloud.get("output_usd_per_mtok"))
    words = ("?" if price is None else f"{price:g}" for price in prices)
    return (f"cloud/{cloud['name']}", cloud["model"], *words, cloud["state"])
