"""How the engines of a supervisor are made: each with the doors that it needs, and the devices that it shares."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engines.feed import Feed
from engines.home import measured_path
from engines.kinds.wire import Wire
from engines.life.change import devices_of
from engines.life.engine import Engine
from engines.life.site import FetchError, Site
from engines.memory import measured
from engines.memory.measured import Measured
from engines.plan import EnginePlan
from engines.processes.record import Record
from engines.reign.errand import run_errand
from engines.reign.ward import Ward
from engines.starting.effort import QUIET_S
from engines.starting.gate import Device
from engines.starting.learned import merged

LOAD_QUIET_VARIABLE = "SPILLWAY_LOAD_QUIET_S"
# Routers look for a feed that is gone four times a second.
ROUTERS_BACK_S = 3.0


@dataclass(slots=True)
class Maker:
    """Called with a plan it makes an engine. `lock` is the path of models.lock, "" where files need no checking;
    `is_ending`: the router is gone for good."""

    home: Path
    http: Wire
    ward: Ward
    feed: Feed
    keepers: set[int]
    reviver: tuple[str, ...]
    sequence: Callable[[], int]
    say: Callable[[str], None]
    lock: str = ""
    is_ending: bool = False
    began_s: float = field(default_factory=time.monotonic)
    devices: dict[str, Device] = field(default_factory=dict)

    def __call__(self, plan: EnginePlan, instance: str, found: Record | None, asleep: bool) -> Engine:
        site = Site(
            home=self.home,
            http=self.http,
            watch=self.ward.watch,
            keepers=self.keepers,
            learn=self._learn,
            quiet_s=load_quiet_s(os.environ),
            use=self.feed.use,
            heard=self._heard,
            sequence=self.sequence,
            fetch=self._fetch,
            reviver=self.reviver,
            weight=self.ward.weight,
            unreturned=self.ward.unreturned,
        )
        devices = [self.devices.setdefault(name, Device(name)) for name in devices_of(plan)]
        return Engine(plan, site, devices, instance, found, asleep)

    def _heard(self, sequence: int) -> bool:
        """Whether all routers have heard the Snapshot of this number. Those of an earlier supervisor are on their way
        back to us at first, with requests that we have not heard of."""
        is_early = time.monotonic() - self.began_s < ROUTERS_BACK_S and not self.is_ending
        return self.feed.heard(sequence) and not (is_early and not self.feed.has_routers)

    async def _fetch(self, plan: EnginePlan, say: Callable[[str], None]) -> None:
        """Every file of the engine is there and whole when this returns. Raises FetchError."""
        if not self.lock:
            return
        try:
            ended = await run_errand(["-m", "engines.fetching", plan.model, "--lock", self.lock], self.keepers, say)
        except OSError as error:
            raise FetchError(f"its files cannot be checked: {error}") from error
        if ended.code != 0:
            raise FetchError(ended.said or f"its files cannot be checked: exit code {ended.code}")

    def _learn(self, plan: EnginePlan, told: Measured) -> None:
        """Keep what a good start told: the next plan reckons with it. A full disk costs only that."""
        path = measured_path(self.home)
        engine = f"{plan.runtime.name} {plan.runtime.version}"
        key = measured.key_of(engine, plan.revision, plan.shape, plan.gpu_name, plan.extra_args)
        try:
            known = measured.read(path)
            measured.write(path, {**known, key: merged(known.get(key), told)})
        except OSError as error:
            self.say(f"what engine {plan.name} told of its memory is not kept: {error}")


def load_quiet_s(user: Mapping[str, str]) -> float:
    """How long a start may do nothing: the user's, for slow disks and compilers, else ours."""
    try:
        return float(user.get(LOAD_QUIET_VARIABLE, QUIET_S))
    except ValueError:
        return QUIET_S
