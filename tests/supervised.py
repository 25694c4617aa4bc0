"""Running the real supervisor over stand-in engines, and watching what it publishes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from engines.following import FeedError, follow
from engines.home import end_all, logs_folder, make_home, plan_path, running_supervisor, wait_gone
from engines.memory.shape import Shape
from engines.plan import CPU, EnginePlan, Plan, RouterPlan, Runtime, Sum, from_json
from engines.processes.record import ProcessId, Record, read_records
from engines.snapshot import EngineState, EngineView, Snapshot
from tests.ports import unused_port

STAND_IN = str(Path(__file__).with_name("stand_in_engine.py"))
LIMIT_S = 60.0
# Starts a supervisor over these engines; it is ended with the test.
Start = Callable[..., "Supervised"]


def engine_plan(name: str, *faults: str, device: str = CPU, gpu_uuids: tuple[str, ...] = ()) -> EnginePlan:
    """A stand-in engine; `faults` are its own flags."""
    return EnginePlan(
        name=name,
        kind="vllm",
        runtime=Runtime("stand-in", "1", (sys.executable, STAND_IN)),
        model=name,
        folder="nowhere",
        revision="0" * 40,
        dtype="bfloat16",
        device=",".join(gpu_uuids) or device,
        gpu_uuids=gpu_uuids,
        gpu_name="Card" if gpu_uuids else "",
        cores=() if gpu_uuids else (0,),
        shape=Shape(
            tensor_parallel=max(1, len(gpu_uuids)), context_tokens=128, max_num_seqs=4, max_num_batched_tokens=128
        ),
        gpu_memory_utilization=0.5 if gpu_uuids else None,
        kv_blocks=None,
        cpu_kv_cache_gib=1,
        max_num_queued_reqs=None,
        port=unused_port(),
        extra_args=faults,
        sum=Sum(),
    )


def plan_of(*engines: EnginePlan) -> Plan:
    port = unused_port()
    router = RouterPlan((sys.executable, STAND_IN, "--port", str(port)), "127.0.0.1", port)
    return Plan("fingerprint", "cpu", engines, (), router)


@dataclass(frozen=True, slots=True)
class Supervised:
    """A home with a running supervisor."""

    home: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, home: Path, *engines: EnginePlan, **variables: str) -> Supervised:
        make_home(home)
        plan_path(home).write_text(plan_of(*engines).to_json())
        return cls(home, run_supervisor(home, **variables))

    def until(self, wanted: Callable[[Snapshot], bool], limit_s: float = LIMIT_S) -> Snapshot:
        """The first Snapshot that is as wanted; fails with the last one after a minute, or the given limit."""
        deadline_s = time.monotonic() + limit_s
        last: Snapshot | None = None
        while time.monotonic() < deadline_s:
            try:
                for last in follow(self.home):
                    if wanted(last):
                        return last
                    if time.monotonic() > deadline_s:
                        break
            except FeedError:
                # Not open yet, or between two supervisors; whoever gives up says so itself.
                if self.process.poll() is not None and not any(each.keeper.lives() for each in read_records(self.home)):
                    break
        log = (logs_folder(self.home) / "supervisor.log").read_text()
        raise AssertionError(f"never as wanted; last: {last}\n{log}")

    def engine(self, name: str, wanted: Callable[[EngineView], bool], limit_s: float = LIMIT_S) -> EngineView:
        """The engine as soon as it is as wanted."""
        snapshot = self.until(lambda seen: any(view.name == name and wanted(view) for view in seen.engines), limit_s)
        return next(view for view in snapshot.engines if view.name == name)

    def change(self, *engines: EnginePlan) -> None:
        """Have these run from now on, beside the same router."""
        path = plan_path(self.home)
        path.write_text(replace(from_json(path.read_text()), engines=engines).to_json())
        supervisor = running_supervisor(self.home)
        assert supervisor
        supervisor.tell(signal.SIGHUP)

    def record(self, name: str) -> Record:
        return next(record for record in read_records(self.home) if record.name == name)

    def end(self) -> None:
        end_all(self.home)
        self.process.wait()


def run_supervisor(home: Path, **variables: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "engines.supervisor"], env={**os.environ, "SPILLWAY_HOME": str(home), **variables}
    )


def is_ready(view: EngineView) -> bool:
    return view.state is EngineState.READY


def kill(process: ProcessId) -> None:
    """SIGKILL, and wait until it is gone (a zombie counts as gone)."""
    process.tell(signal.SIGKILL)
    assert wait_gone(process, LIMIT_S)
