"""Small settings of the simulator: an engine whose speed is easily told, and a policy that does as it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from benchmarks.price import Price
from benchmarks.simulator.arrival import Arrival
from benchmarks.simulator.cloud_times import CloudTimes
from benchmarks.simulator.outcome import Promise
from benchmarks.simulator.policies.plain import Local
from benchmarks.simulator.sequence import Request
from benchmarks.simulator.setting import EngineKind, Setting
from benchmarks.simulator.steps import Attention, Coefficients, Steps
from benchmarks.simulator.world import Kind, Policy, World

NO_ATTENTION = Attention(0.0, 0.0, 0.0)
# A step takes 10 ms and 0.1 ms for each of its tokens.
SPEED = Coefficients("made up", ((0, 10.0), (1000, 110.0)), ((0, 0.0), (1, 0.0)), NO_ATTENTION, NO_ATTENTION, 0.0, 0.0)
CLOUD = CloudTimes(Price(0.15, 0.60))


def setting_of(
    arrivals: Sequence[Arrival], engines: int = 1, kv_tokens: int = 10_016, promise: Promise | None = None
) -> Setting:
    return Setting(arrivals, EngineKind(Steps(SPEED), kv_tokens), engines, CLOUD, promise or Promise(), seed=3)


def poisson(count: int, rate: float, seed: int = 1) -> list[Arrival]:
    rng, at_s, found = Random(seed), 0.0, []
    for _ in range(count):
        found.append(Arrival(at_s, rng.randint(10, 900), rng.randint(1, 120)))
        at_s += rng.expovariate(rate)
    return found


class Sent(Local):
    """Each request goes where `where` says: an engine, -1 for the cloud, None for nowhere."""

    def __init__(self, where: Callable[[Request], int | None], *, looks: bool = False) -> None:
        self.where, self.looks = where, looks
        self.acted_s: list[float] = []
        self.heard: list[tuple[Kind, int, int]] = []

    def arrived(self, request: Request, now_s: float) -> None:
        if self.looks:
            [self.world.engine(engine).kv_used_tokens for engine in range(self.world.engine_count)]
        place = self.where(request)
        if place is not None and place >= 0:
            self.world.local(request, place)
        elif place is not None:
            self.world.cloud(request)

    def happened(self, kind: Kind, request: Request, engine: int, now_s: float) -> None:
        self.heard.append((kind, request.number, engine))

    def act(self, now_s: float) -> None:
        self.acted_s.append(now_s)


def ran(setting: Setting, policy: Policy) -> World:
    world = World(setting, policy)
    assert world.run()
    return world
