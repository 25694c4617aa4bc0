"""Whose a process is, and what of it is left: with real processes, records and shared memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.night.clock import Shift
from benchmarks.night.conduct import Conduct, read_conduct
from benchmarks.night.kinship import Kin, Process, ticks_of, until_gone
from benchmarks.night.stranger import Stranger
from tests.ports import unused_port
from tests.routers import until

SLEEPS = "import signal, sys; print('up', flush=True); signal.pause()"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "processes").mkdir()
    return tmp_path


@contextmanager
def running(code: str = SLEEPS, **variables: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, **variables}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def ids(pid: int) -> list[int]:
    ticks = ticks_of(pid)
    assert ticks is not None
    return [pid, ticks]


def write_record(home: Path, name: str, keeper: list[int], scratch: str | None = None) -> None:
    record = {"name": name, "keeper": keeper, "child": keeper, "scratch": scratch}
    (home / "processes" / f"{name}.json").write_text(json.dumps(record))


def test_a_process_is_struck_only_while_it_is_that_very_process(home: Path) -> None:
    with running() as child:
        pid, ticks = ids(child.pid)
        Process(pid, ticks + 1).tell(signal.SIGKILL)
        assert child.poll() is None
        write_record(home, "supervisor", [pid, ticks])
        Kin(home).supervisor().tell(signal.SIGKILL)
        assert child.wait(10) == -signal.SIGKILL
        until_gone(Process(pid, ticks))
        with pytest.raises(ValueError, match="supervisor does not run"):
            Kin(home).supervisor()


def test_what_belongs_to_no_keeper_is_a_stray(home: Path) -> None:
    with running(SPILLWAY_HOME=str(home)) as kept, running(SPILLWAY_HOME=str(home)) as stray:
        write_record(home, "smoke", ids(kept.pid))
        found = Kin(home).strays()
        assert len(found) == 1
        assert found[0].startswith(f"process {stray.pid}: ")


def test_folders_records_and_shared_memory_are_missed_when_their_owner_is_gone(home: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    maps = (
        "import mmap, os, signal, sys; name = sys.argv[1] if len(sys.argv) > 1 else os.environ['SEGMENT']\n"
        "file = os.open(name, os.O_RDWR | os.O_CREAT, 0o600); os.ftruncate(file, 4096)\n"
        "held = mmap.mmap(file, 4096); print('up', flush=True); signal.pause()"
    )
    segment = Path("/dev/shm") / f"night-{os.getpid()}"
    kin = Kin(home)
    try:
        with running(maps, TMPDIR=str(scratch), SEGMENT=str(segment)) as child:
            write_record(home, "smoke", ids(child.pid), str(scratch))
            kin.look()
            assert kin.strays() == ()
        left = kin.strays()
        assert left[0] == "record of smoke, whose keeper is dead"
        (home / "processes" / "smoke.json").unlink()
        assert kin.strays() == (f"folder {scratch}", f"shared memory {segment.name}")
    finally:
        segment.unlink()
    scratch.rmdir()
    assert kin.strays() == ()


def test_a_clock_jumps_for_those_alone_that_have_it(tmp_path: Path) -> None:
    shift = Shift(tmp_path)
    tells = "import sys, time\nfor _ in sys.stdin: print(time.time(), time.monotonic(), flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", tells],
        env={**os.environ, **shift.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        told = []
        for seconds in (0.0, 3600.0, -3600.0):
            shift.jump(seconds)
            child.stdin.write("?\n")
            child.stdin.flush()
            told.append([float(word) for word in child.stdout.readline().split()])
        child.stdin.close()
    wall = [each for each, _ in told]
    assert wall[1] - wall[0] == pytest.approx(3600, abs=30)
    assert wall[2] - wall[0] == pytest.approx(-3600, abs=30)
    assert told[0][1] <= told[1][1] <= told[2][1] <= told[0][1] + 30


def test_a_stranger_takes_a_port_and_answers_anything() -> None:
    port = unused_port()
    stranger = Stranger(port)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            assert answer.status == 200
            assert b"stranger" in answer.read()
    finally:
        stranger.close()


def test_a_dressed_engine_behaves_as_it_is_told_when_it_starts(tmp_path: Path) -> None:
    conduct, port = tmp_path / "conduct.json", unused_port()
    Conduct(load_s=0.0).write(conduct)
    assert read_conduct(conduct) == Conduct(load_s=0.0)
    command = [sys.executable, "-m", "benchmarks.night.dressed", str(conduct)]
    flags = ["-m", "vllm.entrypoints.openai.api_server", "--model", "there", "--served-model-name", "smoke", "mark-1"]
    flags += ["--port", str(port), "--max-model-len", "128", "--enforce-eager"]
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        until(lambda: "startup complete" in (process.stdout.readline() if process.stdout else ""))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=10) as page:
            assert [model["id"] for model in json.load(page)["data"]] == ["smoke", "mark-1"]
        process.terminate()
        assert process.wait(10) == 0
    Conduct(ends_with=3).write(conduct)
    ended = subprocess.run([*command, *flags], capture_output=True, text=True, check=False)
    assert ended.returncode == 3
    assert "told to end" in ended.stdout
