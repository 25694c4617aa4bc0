"""What the newest Snapshot says of engines and GPUs, as Prometheus families. Ages count until the moment of the scrape.

Pure. What nobody knows has no sample, because 0 would be a lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from engines.snapshot import EngineState, EngineView, GpuState, GpuView, Snapshot

EngineFigure = Callable[[EngineView], float | None]
GpuFigure = Callable[[GpuView], float | None]


def snapshot_gauges(snapshot: Snapshot | None, age_s: float) -> Iterator[Metric]:
    """All families; none of engines and GPUs before the first Snapshot."""
    if snapshot is None:
        return
    age = GaugeMetricFamily("spillway_snapshot_age_seconds", "Age of what the supervisor said last")
    age.add_metric([], age_s)
    yield age
    refused = GaugeMetricFamily("spillway_change_refused", "1 if the newest stack.toml is not what the engines run")
    refused.add_metric([], float(snapshot.refused != ""))
    yield refused
    yield from _engines(snapshot.engines, age_s)
    yield from _gpus(snapshot.gpus, age_s)


def _engines(engines: Iterable[EngineView], snapshot_age_s: float) -> Iterator[Metric]:
    engines = tuple(engines)
    states = GaugeMetricFamily("spillway_engine_state", "1 for the state it is in", labels=["engine", "state"])
    restarts = CounterMetricFamily("spillway_engine_restarts", "Starts after the first one", labels=["engine"])
    for each in engines:
        for state in EngineState:
            states.add_metric([each.name, state.value], float(each.state is state))
        restarts.add_metric([each.name], each.restarts)
    yield from (states, restarts)
    figures: tuple[tuple[str, str, EngineFigure], ...] = (
        ("in_state_seconds", "How long it is in its state", lambda each: each.in_state_s + snapshot_age_s),
        ("memory_bytes", "What its processes hold on all its devices", lambda each: each.memory_bytes),
        ("memory_age_seconds", "Age of that", lambda each: _older(each.memory_age_s, snapshot_age_s)),
        ("load_age_seconds", "Age of its load", lambda each: _older(_load_age_s(each), snapshot_age_s)),
        ("weight", "Below 1 while its GPU is slowed down", lambda each: each.weight),
    )
    for name, text, figure in figures:
        family = GaugeMetricFamily(f"spillway_engine_{name}", text, labels=["engine"])
        for each in engines:
            _add(family, [each.name], figure(each))
        yield family


def _gpus(gpus: Iterable[GpuView], snapshot_age_s: float) -> Iterator[Metric]:
    gpus = tuple(gpus)
    states = GaugeMetricFamily("spillway_gpu_state", "1 for the state it is in", labels=["gpu", "name", "state"])
    for each in gpus:
        for state in GpuState:
            states.add_metric([each.uuid, each.name, state.value], float(each.state is state))
    yield states
    figures: tuple[tuple[str, str, GpuFigure], ...] = (
        ("memory_total_bytes", "Its memory", lambda each: each.total_bytes),
        ("memory_used_bytes", "Memory in use, whoever's", lambda each: each.used_bytes),
        ("memory_foreign_bytes", "Memory of processes that are not ours", lambda each: each.foreign_bytes),
        ("temperature_celsius", "Its temperature", lambda each: each.temperature_c),
        ("power_watts", "What it draws", lambda each: each.power_w),
        ("age_seconds", "Age of these figures", lambda each: each.age_s + snapshot_age_s),
    )
    for name, text, figure in figures:
        family = GaugeMetricFamily(f"spillway_gpu_{name}", text, labels=["gpu", "name"])
        for each in gpus:
            _add(family, [each.uuid, each.name], figure(each))
        yield family


def _add(family: GaugeMetricFamily, labels: list[str], value: float | None) -> None:
    if value is not None:
        family.add_metric(labels, value)


def _load_age_s(engine: EngineView) -> float | None:
    return None if engine.load is None else engine.load.age_s


def _older(age_s: float | None, snapshot_age_s: float) -> float | None:
    return None if age_s is None else age_s + snapshot_age_s
