"""One run of a setting under one policy: its outcome, or only whether the promise is kept."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.simulator.arrival import span_s
from benchmarks.simulator.outcome import Outcome, Tally, outcome_of
from benchmarks.simulator.policies.named import Named
from benchmarks.simulator.policies.plain import Local
from benchmarks.simulator.setting import Setting
from benchmarks.simulator.world import Policy, World


def outcome(setting: Setting, named: Named) -> Outcome:
    """Of the whole trace."""
    began_s = time.perf_counter()
    world = World(setting, named.made())
    with uncollected():
        world.run()
    return counted(world, str(named), time.perf_counter() - began_s)


def counted(world: World, name: str, run_s: float) -> Outcome:
    """What a world that ran has come to."""
    setting = world.setting
    engines = [world.engine(engine) for engine in range(setting.engines)]
    lasts_s = max(world.now_s - setting.arrivals[0].at_s, span_s(setting.arrivals))
    busy_share = sum(engine.busy_s for engine in engines) / (lasts_s * setting.engines)
    preemptions = sum(engine.preemptions for engine in engines)
    tally = Tally(setting.arrivals, world.records, setting.promise)
    return outcome_of(name, tally, setting.usd, (preemptions, busy_share), run_s)


def kept(setting: Setting, policy: Policy) -> tuple[bool, World]:
    """Whether it keeps the promise. The run is left as soon as too many have missed it."""
    world = World(setting, policy)
    with uncollected():
        came = world.run(setting.missed_most)
    return came and bool(
        Tally(setting.arrivals, world.records, setting.promise).kept.sum() >= setting.kept_least
    ), world


def local_keeps(setting: Setting) -> bool:
    """Whether the engines alone keep it."""
    return kept(setting, Local())[0]


@contextmanager
def uncollected() -> Iterator[None]:
    """A run makes no cycles, and looking for them among a million requests takes as long as the run."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
