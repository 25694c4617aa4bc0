"""Starting right, with the real supervisor, stand-in engines and a driver of ours: order, memory, ladders, ends."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.double.nvml_double import GIB, Double, DoubleGpu, Foreign
from engines.home import last_plan, logs_folder, measured_path
from engines.memory import measured
from engines.plan import EnginePlan
from engines.snapshot import EngineState
from engines.starting.launch import free_port
from engines.terminal.awaiting import UpError, wait_until_served
from engines.terminal.progress import Show
from tests.supervised import Start, Supervised, engine_plan, is_ready, kill

SIZE = 80 * GIB
CARDS = [DoubleGpu(uuid=name, total_bytes=SIZE, reserved_bytes=0) for name in ("GPU-a", "GPU-b")]
TOO_LONG = (
    "(EngineCore pid=7) ERROR 11-21 17:36:46 [core.py:1510] ValueError: To serve at least one request with the model's "
    "max seq len (128), (0.5 GiB KV cache is needed, which is larger than the available KV cache memory (0.3 GiB). "
    "Based on the available memory, the estimated maximum model length is 70. Try increasing `gpu_memory_utilization`\n"
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
)
UNKNOWN_MODEL = "  Value error, Model architectures ['Odd'] are not supported for now. Supported architectures: []"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def double(tmp_path: Path) -> Double:
    return Double(tmp_path, CARDS)


@pytest.fixture
def start(home: Path, double: Double) -> Iterator[Start]:
    started: list[Supervised] = []

    def run(*engines: EnginePlan, **variables: str) -> Supervised:
        started.append(Supervised.start(home, *engines, **double.env, **variables))
        return started[-1]

    yield run
    for each in started:
        each.end()


def on(name: str, *gpus: str, words: tuple[str, ...] = ()) -> EnginePlan:
    return engine_plan(name, *words, gpu_uuids=gpus)


def fifo(folder: Path) -> Path:
    path = folder / "fifo"
    os.mkfifo(path)
    return path


def text(folder: Path, words: str) -> str:
    path = folder / "words"
    path.write_text(words)
    return str(path)


def waiting(double: Double, gib: int, uuid: str = "GPU-a") -> tuple[str, ...]:
    return ("--hold", str(double.home), f"{uuid}={gib * GIB}")


def test_a_group_waits_for_all_of_its_gpus_and_other_gpus_for_nobody(start: Start, tmp_path: Path) -> None:
    gate = fifo(tmp_path)
    slow = on("one", "GPU-b", words=("--wait-for", str(gate)))
    stack = start(slow, on("pair", "GPU-b", "GPU-a"), on("three", "GPU-b"))
    stack.engine("one", lambda view: view.state is EngineState.LOADING)
    held = stack.until(lambda seen: [view.progress for view in seen.engines[1:]] == ["waiting for its turn"] * 2)
    assert [(view.state, view.pid) for view in held.engines[1:]] == [(EngineState.LAUNCHING, None)] * 2
    gate.write_text("go")
    seen = stack.until(lambda seen: all(is_ready(view) for view in seen.engines))
    assert [view.restarts for view in seen.engines] == [0, 0, 0]


def test_a_foreign_process_is_named_and_the_engine_comes_once_it_is_gone(start: Start, double: Double) -> None:
    double.change(foreign=(Foreign("GPU-a", os.getpid(), 60 * GIB),))
    stack = start(on("one", "GPU-a"), on("two", "GPU-b"))
    failed = stack.engine("one", lambda view: view.state is EngineState.FAILED)
    assert failed.last_error is not None
    assert "GPU-a has 20.0 GiB free and this engine needs 40.0 GiB, 0.5000 of the card" in failed.last_error
    assert f"It is held by process {os.getpid()}" in failed.last_error
    assert "with 60.0 GiB" in failed.last_error
    assert failed.pid is None
    stack.engine("two", is_ready)
    double.change(foreign=())
    assert stack.engine("one", is_ready).restarts == 0


def test_memory_that_comes_back_slowly_is_waited_for(start: Start, double: Double) -> None:
    stack = start(on("one", "GPU-a", words=waiting(double, 60)))
    first = stack.engine("one", is_ready)
    child = stack.record("one").child
    assert child
    double.change(linger=True)
    kill(child)
    held = stack.engine("one", lambda view: "to be given back" in view.progress)
    assert (held.state, held.restarts, held.pid) == (EngineState.LAUNCHING, 0, None)
    assert held.progress == "waiting for 20.0 GiB of GPU memory to be given back"
    double.change(linger=False)
    again = stack.engine("one", lambda view: is_ready(view) and view.restarts == 1)
    assert again.pid != first.pid


def test_a_slow_driver_delays_neither_the_snapshots_nor_for_ever_a_start(start: Start, double: Double) -> None:
    double.change(slow_ms=60_000)
    stack = start(on("one", "GPU-a"))
    first = stack.until(lambda _: True)
    later = stack.until(lambda seen: seen.sequence >= first.sequence + 8)
    assert later.engines[0].state is EngineState.LAUNCHING
    assert [gpu.name for gpu in later.gpus] == ["unknown GPU"]
    stack.engine("one", is_ready)


def test_a_gpu_that_is_lost_keeps_its_engine_from_running_and_says_why(start: Start, double: Double) -> None:
    double.lose(0)
    stack = start(on("one", "GPU-a"), on("two", "GPU-b"))
    closed = stack.engine("one", lambda view: view.state is EngineState.QUARANTINED)
    assert closed.last_error is not None
    assert "GPU-a" in closed.last_error
    assert closed.pid is None
    stack.engine("two", is_ready)


def test_a_context_that_does_not_fit_is_lowered_and_said(start: Start, home: Path, tmp_path: Path) -> None:
    plan = engine_plan("one", "--fail", text(tmp_path, TOO_LONG), "--fits", "max-model-len=70")
    view = start(plan).engine("one", is_ready)
    assert view.context_tokens == 64
    cause = "the KV cache holds 70 tokens, less than one request of the whole context"
    assert view.changes == f"context 64 instead of 128, because {cause}"
    log = (logs_folder(home) / "supervisor.log").read_text()
    assert f"engine one is failed: {cause}" in log
    assert f"engine one is ready with {view.changes}" in log
    key = measured.key_of("stand-in 1", plan.revision, replace(plan.shape, context_tokens=64), "", plan.extra_args)
    assert list(measured.read(measured_path(home))) == [key]


def test_what_no_start_can_mend_is_said_once_and_neither_tried_again_nor_waited_for(
    start: Start, home: Path, tmp_path: Path
) -> None:
    failing = engine_plan("one", "--fail", text(tmp_path, UNKNOWN_MODEL))
    ending = engine_plan("three", "--end-with", "3", device="other")
    stack = start(failing, engine_plan("two"), ending)
    stack.until(lambda _: True)
    plan = last_plan(home)
    assert plan
    with Show(Console(quiet=True)) as show, pytest.raises(UpError, match="engine one failed: this vLLM does not know"):
        wait_until_served(plan, home, show)
    failed = stack.engine("one", lambda view: view.is_final)
    assert failed.state is EngineState.QUARANTINED
    assert failed.last_error == (
        "this vLLM does not know the architecture ['Odd'] (exit code 1). Choose another model, or a runtime that "
        "serves it. It is not tried again: mend it, then `spillway up`."
    )
    stack.engine("two", is_ready)
    again = stack.engine("three", lambda view: view.is_final)
    assert (again.restarts, again.failed_starts) == (2, 3)
    assert "RuntimeError: told to end. It failed 3 times in a row." in str(again.last_error)
    assert stack.engine("one", lambda view: view.in_state_s > 3).restarts == 0
    assert (logs_folder(home) / "supervisor.log").read_text().count("engine one is quarantined") == 1
    two = engine_plan("two")
    assert list(measured.read(measured_path(home))) == [measured.key_of("stand-in 1", two.revision, two.shape, "")]


def test_a_start_in_which_nothing_happens_is_ended_and_named(start: Start) -> None:
    stack = start(engine_plan("one", "--hang"), SPILLWAY_LOAD_QUIET_S="1.5")
    failed = stack.engine("one", lambda view: view.state is EngineState.FAILED)
    assert failed.last_error is not None
    assert failed.last_error.startswith("it hangs while loading weights: nothing in its log and no work for")


def test_a_start_that_waits_with_patience_is_left_alone(start: Start, tmp_path: Path) -> None:
    gate = fifo(tmp_path)
    stack = start(engine_plan("one", "--wait-for", str(gate)), SPILLWAY_LOAD_QUIET_S="600")
    assert stack.engine("one", lambda view: view.in_state_s > 2).state is EngineState.LOADING
    gate.write_text("go")
    assert stack.engine("one", is_ready).restarts == 0


def test_the_planned_port_is_taken_if_it_is_free_and_another_if_not(start: Start) -> None:
    shared = free_port()
    one, two = replace(engine_plan("one"), port=shared), replace(engine_plan("two"), port=shared)
    seen = start(one, two).until(lambda seen: all(is_ready(view) for view in seen.engines))
    assert seen.engines[0].url == f"http://127.0.0.1:{shared}"
    assert seen.engines[1].url != seen.engines[0].url


def test_what_a_good_start_told_is_kept_with_the_drivers_figures(
    start: Start, home: Path, double: Double, tmp_path: Path
) -> None:
    said = "(W pid=1) INFO 11-21 [g.py:1] Model loading took 15.0 GiB memory and 3.500000 seconds\n"
    said += "(W pid=1) INFO 11-21 [g.py:1] Available KV cache memory: 20.0 GiB\n"
    said += "(W pid=1) INFO 11-21 [g.py:1] Graph capturing finished in 9 secs, took 1.0 GiB\n"
    said += "(W pid=1) INFO 11-21 [k.py:1] GPU KV cache size: 163,840 tokens, Maximum concurrency\n"
    said += "(W pid=1) INFO 11-21 [g.py:1] Free memory on device (79.5/80.0 GiB) on startup. Desired GPU memory"
    start(on("one", "GPU-a", words=("--say", text(tmp_path, said), *waiting(double, 40)))).engine("one", is_ready)
    (told,) = measured.read(measured_path(home)).values()
    gib = (told.weights_bytes, told.activation_bytes, told.graph_bytes, told.kv_bytes, told.outside_bytes)
    assert [(count or 0) / GIB for count in gib] == [15.0, 4.0, 1.0, 20.0, 0.5]
    assert (told.kv_tokens, told.load_s) == (163_840, 3.5)
    assert told.start_s is not None
    assert told.start_s > 0
