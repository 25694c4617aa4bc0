"""A supervisor that dies is followed by one that takes over what serves; plans change beside what runs."""

import errno
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from engines.home import logs_folder, make_home, plan_path, running_supervisor, write_own_record
from engines.plan import Sum
from engines.processes.orphans import start_ticks
from engines.processes.record import ProcessId, record_path
from engines.reign.reign import Refused, Reign
from engines.snapshot import EngineState, Report, Snapshot, feed_address
from tests.supervised import Start, engine_plan, is_ready, kill, plan_of


def test_a_killed_supervisor_is_followed_by_one_that_takes_over_what_serves(start: Start, home: Path) -> None:
    stack = start(engine_plan("one"), engine_plan("two"))
    before = stack.until(lambda seen: all(is_ready(view) for view in seen.engines))
    router = stack.record("router").child
    stack.process.kill()
    stack.process.wait()
    after = stack.until(lambda seen: seen.supervisor_pid != stack.process.pid and all(map(is_ready, seen.engines)))
    assert [(view.pid, view.url) for view in after.engines] == [(view.pid, view.url) for view in before.engines]
    assert [(view.restarts, view.is_adopted) for view in after.engines] == [(0, True)] * 2
    assert stack.record("router").child == router


def test_an_adopted_engine_that_dies_comes_back(start: Start) -> None:
    stack = start(engine_plan("one"))
    first = stack.engine("one", is_ready)
    kill(ProcessId(stack.process.pid, start_ticks(stack.process.pid) or 0))
    stack.engine("one", lambda view: is_ready(view) and view.is_adopted)
    assert first.pid
    os.kill(first.pid, signal.SIGKILL)
    second = stack.engine("one", lambda view: is_ready(view) and view.restarts == 1)
    assert (second.is_adopted, "SIGKILL" in (second.last_error or "")) == (False, True)


def test_a_new_plan_changes_the_engines_concerned_and_no_other(start: Start) -> None:
    one, two = engine_plan("one"), engine_plan("two")
    stack = start(one, two)
    stack.until(lambda seen: all(is_ready(view) for view in seen.engines))
    pid, router = stack.engine("one", is_ready).pid, stack.record("router").child
    stack.change(one, replace(two, revision="2" * 40), engine_plan("three"))
    stack.until(lambda seen: any(view.name == "two~2" for view in seen.engines))
    after = stack.until(lambda seen: not seen.busy and len(seen.engines) == 3 and all(map(is_ready, seen.engines)))
    assert [view.name for view in after.engines] == ["one", "two", "three"]
    assert (stack.engine("one", is_ready).pid, stack.record("router").child) == (pid, router)
    stack.change(one)
    assert [view.name for view in stack.until(lambda seen: len(seen.engines) == 1).engines] == ["one"]


def test_a_change_that_does_not_start_leaves_the_old_engine_and_says_so(start: Start, tmp_path: Path) -> None:
    good = engine_plan("one")
    stack = start(good)
    before = stack.engine("one", is_ready)
    stack.change(replace(good, extra_args=("--end-with", "3")))
    after = stack.until(lambda seen: bool(seen.refused))
    assert after.refused.startswith("engine one does not start as it is wanted now")
    assert stack.engine("one", is_ready).pid == before.pid


def test_models_that_do_not_fit_at_once_take_turns_as_they_are_wanted(start: Start, home: Path) -> None:
    size = Sum(weights_bytes=2**30)
    one = replace(engine_plan("one", "--steps"), sum=size, keep=False, min_residence_s=0.0)
    stack = start(one, replace(engine_plan("two", "--steps"), sum=size, keep=False, is_alternate=True))
    stack.until(lambda seen: states_of(seen) == {"one": EngineState.READY, "two": EngineState.SLEEPING})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as router, feed_address(home) as address:
        router.connect(address)
        with router.makefile("rb") as lines:
            router.sendall(Report(2**40, {}, {"two": 1}).to_json())
            stack.until(lambda seen: states_of(seen) == {"one": EngineState.SLEEPING, "two": EngineState.READY})
            assert lines.readline()
    assert stack.engine("one", lambda _: True).pid is None


def states_of(snapshot: Snapshot) -> dict[str, EngineState]:
    return {view.name: view.state for view in snapshot.engines}


def test_a_plan_that_cannot_be_read_changes_nothing(start: Start, home: Path) -> None:
    stack = start(engine_plan("one"))
    before = stack.engine("one", is_ready)
    plan_path(home).write_text("{")
    stack.process.send_signal(signal.SIGHUP)
    last = stack.until(lambda _: True).sequence
    stack.until(lambda seen: seen.sequence > last + 2)
    assert stack.engine("one", is_ready).pid == before.pid
    assert "plan.json cannot be read" in (logs_folder(home) / "supervisor.log").read_text()


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose disk takes no record of a supervisor."""
    make_home(tmp_path)
    plan_path(tmp_path).write_text(plan_of().to_json())
    monkeypatch.setenv("SPILLWAY_HOME", str(tmp_path))

    def write(_: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("engines.reign.reign.write_own_record", write)
    # What a supervisor is to the system, the process of the tests shall not become.
    monkeypatch.setattr("engines.reign.reign.ctypes.CDLL", lambda _: SimpleNamespace(prctl=lambda *_: 0))
    monkeypatch.setattr("engines.reign.reign.signal.signal", lambda *_: None)
    return tmp_path


def test_a_supervisor_that_cannot_be_found_again_does_not_start(full_disk: Path) -> None:
    with pytest.raises(Refused, match="No space left on device"):
        Reign.begin()


def test_one_that_follows_another_starts_on_a_full_disk_too_and_writes_itself_down_later(
    full_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_path(full_disk, "supervisor").write_text("of the one before")
    reign = Reign.begin()
    assert (reign.has_record, reign.keep_record(), reign.has_record) == (False, True, False)
    monkeypatch.setattr("engines.reign.reign.write_own_record", write_own_record)
    assert (reign.keep_record(), reign.has_record) == (True, True)
    found = running_supervisor(full_disk)
    assert found
    assert found.pid == os.getpid()


def test_one_whose_end_was_ordered_meanwhile_does_not_write_itself_down(full_disk: Path) -> None:
    record_path(full_disk, "supervisor").write_text("of the one before")
    reign = Reign.begin()
    record_path(full_disk, "supervisor").unlink()
    assert not reign.keep_record()
