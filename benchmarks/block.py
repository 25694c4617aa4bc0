"""One block of `relay`: one scenario, against the router or the engine itself, once, with what it cost.

Starts the load generator as a process and looks at the process table when its window opens and closes. It must not
know rounds or tables.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import machine
from benchmarks.contender import Stub
from benchmarks.job import Address, Job
from benchmarks.scenario import Scenario
from benchmarks.tally import Summary, summary_in

# Of a block that others disturbed, so many more tries.
RETRIES = 1


class LoadFailed(ValueError):
    """The load generator did not come to its end."""


@dataclass(frozen=True, slots=True)
class Side:
    """What the load is sent to: the router, or the engine. `pid` is the router's, None where it cannot be read."""

    name: str
    address: Address
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """What all blocks of a run have in common. `stub` is None where the router's engine is not ours."""

    model: str
    numbered: bool
    stub: Stub | None
    load_core: int | None
    quiet_s: float
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Block:
    """What was measured. Shares are of one core; `router_cpu` and `rss_bytes` are None without a pid."""

    side: str
    scenario: str
    round: int
    summary: Summary
    router_cpu: float | None
    rss_bytes: int | None
    stub_cpu: float
    foreign_cpu: float
    steal: float

    @property
    def is_disturbed(self) -> bool:
        """Others took more than their share of the machine."""
        return self.foreign_cpu > machine.QUIET_SHARE or self.steal > machine.STEAL_SHARE

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self) | {"disturbed": self.is_disturbed}


def measured(side: Side, scenario: Scenario, round_: int, setting: Setting) -> Block:
    """Measure, and once more when others disturbed it. Raises LoadFailed."""
    if setting.stub is not None:
        setting.stub.set_speed(0.0, scenario.delay_s)
    # Whoever does not wait for a quiet machine does not care.
    for tries_left in range(RETRIES if setting.quiet_s else 0, -1, -1):
        machine.wait_quiet(lambda: _ours(side, setting), setting.quiet_s, setting.say)
        block = _once(side, scenario, round_, setting)
        if not block.is_disturbed or not tries_left:
            break
        setting.say(f"disturbed: others used {block.foreign_cpu:.2f} of a core, the host {block.steal:.2f}; once more")
    return block


def _once(side: Side, scenario: Scenario, round_: int, setting: Setting) -> Block:
    job = scenario.job(side.address, setting.model, numbered=setting.numbered)
    with machine.on_core(setting.load_core):
        load = subprocess.Popen(_command(job), stdout=subprocess.PIPE, text=True)
    looks: list[machine.Look] = []
    summary, rss_bytes = None, None
    with load:
        for line in load.stdout or ():
            said = json.loads(line)
            if "summary" in said:
                summary = summary_in(said["summary"])
                continue
            looks.append(machine.look())
            rss_bytes = None if side.pid is None else machine.footprint(side.pid).rss_bytes
    if summary is None or len(looks) != len(("open", "closed")):
        raise LoadFailed(f"The load generator ended with status {load.returncode}; its reason stands above.")
    before, after = looks
    return Block(
        side=side.name,
        scenario=scenario.key,
        round=round_,
        summary=summary,
        router_cpu=None if side.pid is None else machine.share(before, after, _pids(side.pid)),
        rss_bytes=rss_bytes,
        stub_cpu=0.0 if setting.stub is None else machine.share(before, after, [setting.stub.pid]),
        foreign_cpu=machine.foreign_share(before, after, {*_ours(side, setting), load.pid}),
        steal=machine.steal_share(before, after),
    )


def _command(job: Job) -> list[str]:
    address = job.address
    options: dict[str, object] = {
        "--url": f"http://{address.host}:{address.port}",
        "--path": address.path,
        "--model": job.model,
        "--connections": job.connections,
        "--tokens": job.tokens,
        "--warm-s": job.warm_s,
        "--seconds": job.seconds,
        "--ramp-s": job.ramp_s,
    }
    command = [sys.executable, "-m", "benchmarks", "pump", *(f"{name}={value}" for name, value in options.items())]
    command += [f"--header={header}" for header in address.headers]
    return command + ["--stream"] * job.stream + ["--plain"] * (not job.numbered)


def _ours(side: Side, setting: Setting) -> Iterable[int]:
    """Processes that belong to the measurement."""
    stub = [] if setting.stub is None else [setting.stub.pid]
    return [os.getpid(), *stub, *([] if side.pid is None else _pids(side.pid))]


def _pids(root: int) -> list[int]:
    return [each.pid for each in machine.family(root)]
