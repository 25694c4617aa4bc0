"""`spillway up` on a driver's GPUs, the GPU runtime a stand-in that takes its share: started, changed, refused."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.double.nvml_double import GIB, LIB_RM_VERSION_MISMATCH, Double, DoubleGpu, Foreign
from engines.following import follow
from engines.home import plan_path, running_supervisor
from engines.processes.record import ProcessId, Record, read_records
from engines.runtime import MARKER, runtime
from engines.snapshot import EngineState, GpuState, Snapshot
from tests.routers import until
from tests.stacks import SPILLWAY, Place, place_in
from tests.supervised import LIMIT_S, STAND_IN, kill

VLLM = """#!{python}
import os, pathlib, sys
share = float(sys.argv[sys.argv.index("--gpu-memory-utilization") + 1])
held = pathlib.Path({processes!r}) / str(os.getpid())
held.write_text(os.environ["CUDA_VISIBLE_DEVICES"] + f" {{int(share * 24 * 2**30) + 600 * 2**20}}\\n")
os.execv(sys.executable, [sys.executable, {stand_in!r}, *sys.argv[2:]])
"""


@dataclass
class Stack:
    """The shipped stack on a card of 24 GiB."""

    place: Place
    double: Double

    def up(self, context_tokens: int) -> str:
        """What it says; it must succeed, with all of the card given away."""
        code, said = self.tried(context_tokens)
        assert code == 0, said
        self.check(context_tokens)
        return said

    def until(self, wanted: Callable[[Snapshot], bool]) -> Snapshot:
        """The first Snapshot that is as wanted."""
        deadline_s = time.monotonic() + LIMIT_S
        for snapshot in follow(self.place.home):
            if wanted(snapshot):
                return snapshot
            assert time.monotonic() < deadline_s, f"never as wanted; last: {snapshot}"
        raise AssertionError("the supervisor has ended")

    def supervisor(self) -> ProcessId:
        found = running_supervisor(self.place.home)
        assert found
        return found

    def record(self, name: str) -> Record:
        return next(record for record in read_records(self.place.home) if record.name == name)

    def check(self, context_tokens: int) -> None:
        (engine,) = json.loads(plan_path(self.place.home).read_text())["engines"]
        assert engine["shape"]["context_tokens"] == context_tokens
        assert engine["gpu_memory_utilization"] > 0.9

    def tried(self, context_tokens: int, more: str = "") -> tuple[int, str]:
        self.write(context_tokens, more)
        said = self.place.run("up", "--config", str(self.place.config))
        return said.returncode, said.stdout + said.stderr

    def write(self, context_tokens: int, more: str = "") -> None:
        text = self.place.config.read_text().partition("\n[gpus]")[0]
        tokens = next(line for line in text.splitlines() if line.startswith("context_tokens"))
        self.place.config.write_text(text.replace(tokens, f"context_tokens = {context_tokens}") + more)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with stack_on(tmp_path, DoubleGpu(total_bytes=24 * GIB, reserved_bytes=0)) as made:
        yield made


@contextmanager
def stack_on(folder: Path, *cards: DoubleGpu) -> Iterator[Stack]:
    double = Double(folder / "nvml", list(cards))
    place = place_in(folder, {"SPILLWAY_RUNTIMES": str(folder / "runtimes"), **double.env})
    root = runtime("vllm", place.variables).root
    (root / "bin").mkdir(parents=True)
    (root / MARKER).touch()
    (root / "bin" / "python").symlink_to(sys.executable)
    script = root / "bin" / "vllm"
    script.write_text(VLLM.format(python=sys.executable, processes=str(double.home / "processes"), stand_in=STAND_IN))
    script.chmod(0o755)
    yield Stack(place, double)
    place.down()


def gives_back(double: Double, line: str) -> bool:
    """Let the driver have its memory back as soon as somebody says that it is waited for."""
    if is_waited_for := "to be given back" in line:
        double.change(linger=False)
    return is_waited_for


def test_a_changed_engine_takes_the_place_of_the_one_that_fills_the_card(stack: Stack) -> None:
    stack.up(4096)
    before, router = running_supervisor(stack.place.home), stack.record("router").child
    first = stack.place.engine()
    # The supervisor may have seen the edit before `up` has read it: then `up` only waits.
    assert "the change " not in stack.up(2048).replace("the change replaces smoke.", "")
    second = stack.place.engine()
    assert second.pid not in (None, first.pid)
    stack.write(4096)
    stack.until(lambda seen: seen.engines[0].context_tokens == 4096 and seen.engines[0].state is EngineState.READY)
    stack.check(4096)
    assert (running_supervisor(stack.place.home), stack.record("router").child) == (before, router)


def test_an_edit_that_cannot_run_is_refused_until_it_is_taken_back(stack: Stack) -> None:
    stack.up(4096)
    before = stack.place.engine()
    stack.write(4096, "\n[gpus]\nreserve_gib = 23.5\n")
    assert "[models.smoke] needs" in stack.until(lambda seen: bool(seen.refused)).refused
    stack.write(4096)
    after = stack.until(lambda seen: not seen.refused)
    assert (after.engines[0].pid, after.engines[0].restarts) == (before.pid, 0)


def test_a_new_key_or_a_dead_supervisor_brings_another_one_and_leaves_the_engine_alone(stack: Stack) -> None:
    stack.up(4096)
    before, router, engine = stack.supervisor(), stack.record("router").child, stack.place.engine()
    said = stack.place.run("up", "--config", str(stack.place.config), OPENAI_API_KEY="sk-new")
    assert (said.returncode, "another supervisor takes over" in said.stdout) == (0, True), said.stdout
    after = stack.place.engine()
    assert (after.pid, after.restarts, after.is_adopted) == (engine.pid, 0, True)
    assert stack.supervisor() != before
    assert stack.record("router").child not in (None, router)
    kill(stack.supervisor())
    said = stack.place.run("up", "--config", str(stack.place.config), OPENAI_API_KEY="sk-new")
    assert said.returncode == 0, said.stdout
    assert (stack.place.engine().pid, stack.place.engine().restarts) == (engine.pid, 0)


def test_that_an_adopted_router_ends_is_no_failure_of_the_next_one(stack: Stack) -> None:
    stack.up(4096)
    kill(stack.supervisor())
    stack.up(4096)
    adopted, log = stack.record("router").child, stack.place.home / "logs" / "supervisor.log"
    assert "router of the supervisor before is adopted" in log.read_text()
    assert adopted
    kill(adopted)
    others = (None, adopted)
    until(lambda: any(each.name == "router" and each.child not in others for each in read_records(stack.place.home)))
    assert "router of the supervisor before has ended: signal SIGKILL" in log.read_text()
    # What `up` takes for a router that does not stay up.
    assert " router ended: " not in log.read_text()


def test_a_card_that_fails_is_done_without_until_a_human_has_seen_to_it(tmp_path: Path) -> None:
    cards = [DoubleGpu(uuid, total_bytes=24 * GIB, reserved_bytes=0) for uuid in ("GPU-a", "GPU-b")]
    with stack_on(tmp_path, *cards) as stack:
        stack.up(4096)
        device = stack.place.engine().device
        stack.double.lose([card.uuid for card in cards].index(device))
        moved = stack.until(lambda seen: is_ready_elsewhere(seen, device))
        states = {gpu.uuid: gpu.state for gpu in moved.gpus}
        assert states[device] is GpuState.QUARANTINED
        assert states[moved.engines[0].device] is GpuState.OK
        assert f"GPU {device} is quarantined: it " in (stack.place.home / "logs" / "supervisor.log").read_text()


def is_ready_elsewhere(seen: Snapshot, device: str) -> bool:
    return any(view.state is EngineState.READY and view.device != device for view in seen.engines)


def test_in_a_container_too_which_knows_our_processes_by_other_pids(stack: Stack) -> None:
    stack.double.change(pid_offset=1_000_000)
    stack.up(4096)
    stack.up(2048)


def test_memory_that_the_driver_gives_back_late_is_waited_for_before_it_is_planned(stack: Stack) -> None:
    stack.up(4096)
    stack.double.change(linger=True)
    stack.write(2048)
    with subprocess.Popen(
        [SPILLWAY, "up", "--config", str(stack.place.config)],
        env={**stack.place.environment(), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        waits = [line for line in iter(process.stdout.readline, "") if gives_back(stack.double, line)]
    assert (process.returncode, bool(waits)) == (0, True)
    stack.check(2048)


def test_a_change_that_does_not_fit_is_refused_and_what_runs_is_left_alone(stack: Stack) -> None:
    stack.up(4096)
    before = running_supervisor(stack.place.home)
    code, said = stack.tried(4096, "\n[gpus]\nreserve_gib = 23.5\n")
    assert (code, "[models.smoke] needs" in said) == (1, True)
    assert running_supervisor(stack.place.home) == before


def test_a_driver_in_trouble_is_no_reason_to_move_what_runs_to_the_processor(stack: Stack) -> None:
    stack.up(4096)
    before = running_supervisor(stack.place.home)
    stack.double.change(init_code=LIB_RM_VERSION_MISMATCH)
    code, said = stack.tried(4096)
    assert (code, "reboot, or reload the nvidia modules. Mend that, or" in said) == (1, True)
    assert running_supervisor(stack.place.home) == before


def test_what_another_program_holds_is_left_to_it(stack: Stack) -> None:
    stack.double.change(foreign=(Foreign("GPU-a", 4_000_001, 23 * GIB),))
    code, said = stack.tried(4096)
    assert (code, "other processes hold 23.0" in said) == (1, True)
    assert running_supervisor(stack.place.home) is None


def test_a_plan_that_cannot_be_read_does_not_hide_why_the_new_one_fails(stack: Stack) -> None:
    stack.up(4096)
    plan_path(stack.place.home).write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = stack.place.config.read_text()
        stack.place.config.write_text(config.replace(f"port = {stack.place.port}", f"port = {port}"))
        code, said = stack.tried(4096)
    assert (code, f"port {port} on 127.0.0.1 is taken by" in said, "Traceback" in said) == (1, True, False)
