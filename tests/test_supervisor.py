"""The supervisor with stand-in engines and real faults: it publishes, restarts, and leaves nothing behind."""

import errno
import os
import shutil
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from engines.feed import follow
from engines.home import end_all, logs_folder, make_home, plan_path, running_supervisor, write_own_record
from engines.plan import EnginePlan, Sum
from engines.processes.orphans import start_ticks
from engines.processes.process import ProcessId, read_records
from engines.processes.record import record_path
from engines.reign import Refused, Reign
from engines.snapshot import FEED_NAME, EngineState, EngineView, Report, Snapshot, feed_address
from tests.supervised import LIMIT_S, Supervised, engine_plan, kill, plan_of, run_supervisor

MOST_RSS_BYTES = 70 * 2**20
Start = Callable[..., Supervised]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Longer than the 107 bytes that the name of a Unix socket may have."""
    return tmp_path / ("deep-" * 20) / "home"


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    started: list[Supervised] = []

    def run(*engines: EnginePlan) -> Supervised:
        started.append(Supervised.start(home, *engines))
        return started[-1]

    yield run
    for each in started:
        each.end()


def is_ready(view: EngineView) -> bool:
    return view.state is EngineState.READY


def pids_in(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()]


def test_a_ready_engine_is_published_with_its_load(start: Start) -> None:
    view = start(engine_plan("one")).engine("one", lambda seen: is_ready(seen) and seen.load is not None)
    assert view.load is not None
    assert (view.load.running, view.load.waiting, view.load.kv_capacity_tokens) == (3, 2, 8192)
    assert view.load.age_s < 2
    assert (view.device, view.context_tokens, view.restarts, view.last_error) == ("cpu", 128, 0, None)
    assert view.pid is not None


def test_snapshots_are_numbered_without_gaps(start: Start, home: Path) -> None:
    start(engine_plan("one")).engine("one", is_ready)
    feed = follow(home)
    numbers = [next(feed).sequence for _ in range(4)]
    assert numbers == list(range(numbers[0], numbers[0] + 4))


@pytest.mark.parametrize("code", [0, 3])
def test_an_end_nobody_asked_for_is_a_failure_and_is_tried_again(start: Start, code: int) -> None:
    stack = start(engine_plan("one", "--end-with", str(code)))
    failed = stack.engine("one", lambda view: view.state is EngineState.FAILED)
    assert failed.last_error == f"it ended with exit code {code}: RuntimeError: told to end"
    assert stack.engine("one", lambda view: view.restarts >= 2).restarts >= 2


def test_a_killed_engine_takes_its_worker_along_and_comes_back(start: Start, tmp_path: Path) -> None:
    workers = tmp_path / "workers"
    stack = start(engine_plan("one", "--worker", str(workers)))
    first = stack.engine("one", is_ready)
    assert first.pid
    os.kill(first.pid, signal.SIGKILL)
    second = stack.engine("one", lambda view: is_ready(view) and view.restarts == 1)
    assert second.pid != first.pid
    assert second.last_error is not None
    assert "SIGKILL" in second.last_error
    assert [start_ticks(pid) is None for pid in pids_in(workers)] == [True, False]


def test_a_killed_keeper_leaves_nothing_and_the_engine_comes_back(start: Start, tmp_path: Path) -> None:
    workers = tmp_path / "workers"
    stack = start(engine_plan("one", "--worker", str(workers)))
    first = stack.engine("one", is_ready)
    assert first.pid
    record = stack.record("one")
    kill(record.keeper)
    stack.engine("one", lambda view: is_ready(view) and view.restarts == 1)
    assert record.scratch
    assert not Path(record.scratch).exists()
    assert start_ticks(first.pid) is None
    assert [start_ticks(pid) is None for pid in pids_in(workers)] == [True, False]


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


def test_what_a_killed_supervisor_and_killed_keepers_leave_is_found_by_its_records(
    start: Start, home: Path, tmp_path: Path
) -> None:
    workers = tmp_path / "workers"
    stack = start(engine_plan("one", "--worker", str(workers)))
    stack.engine("one", is_ready)
    keepers = [record.keeper for record in read_records(home) if record.name != "supervisor"]
    stack.process.kill()
    for keeper in keepers:
        kill(keeper)
    end_all(home)
    assert [start_ticks(pid) for pid in pids_in(workers)] == [None]
    assert read_records(home) == ()


def test_the_next_supervisor_takes_over_a_killed_ones_home(start: Start, home: Path) -> None:
    first = start(engine_plan("one"))
    first.engine("one", is_ready)
    first.process.kill()
    first.process.wait()
    end_all(home)
    assert start(engine_plan("one")).engine("one", is_ready).restarts == 0


def test_a_second_supervisor_is_refused(start: Start, home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    start(engine_plan("one")).engine("one", is_ready)
    assert run_supervisor(home).wait() == 1
    assert "another supervisor runs in" in capfd.readouterr().err


def test_term_stops_everything(start: Start, home: Path) -> None:
    stack = start(engine_plan("one"), engine_plan("two"))
    stack.until(lambda seen: all(is_ready(view) for view in seen.engines))
    processes = [record.child for record in read_records(home)]
    assert end_all(home) == 1
    assert stack.process.wait() == 0
    assert [process.lives() for process in processes if process] == [False] * 4
    assert not (home / FEED_NAME).exists()
    assert read_records(home) == ()
    assert running_supervisor(home) is None


def test_stopping_while_an_engine_starts_ends_it_too(start: Start, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    stack = start(engine_plan("one", "--wait-for", str(fifo)))
    child = stack.engine("one", lambda view: view.state is EngineState.LOADING and view.pid is not None).pid
    assert child
    stack.end()
    assert start_ticks(child) is None


def test_engines_of_one_device_start_one_after_the_other(start: Start, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    stack = start(engine_plan("one", "--wait-for", str(fifo)), engine_plan("two"))
    held = stack.until(lambda seen: seen.engines[0].state is EngineState.LOADING and bool(seen.engines[1].progress))
    assert (held.engines[1].progress, held.engines[1].pid) == ("waiting for its turn", None)
    fifo.write_text("go")
    stack.until(lambda seen: all(is_ready(view) for view in seen.engines))


def test_engines_of_two_devices_start_together(start: Start, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    stack = start(engine_plan("one", "--wait-for", str(fifo)), engine_plan("two", device="other"))
    seen = stack.until(lambda seen: is_ready(seen.engines[1]))
    assert not is_ready(seen.engines[0])
    fifo.write_text("go")
    stack.engine("one", is_ready)


def test_a_killed_router_comes_back(start: Start, home: Path) -> None:
    stack = start(engine_plan("one"))
    stack.engine("one", is_ready)
    first = stack.record("router").child
    assert first
    kill(first)
    stack.until(
        lambda _: any(record.name == "router" and record.child not in (None, first) for record in read_records(home))
    )


def test_the_feed_is_for_its_owner_only(start: Start, home: Path) -> None:
    start(engine_plan("one")).engine("one", is_ready)
    assert stat.S_IMODE((home / FEED_NAME).stat().st_mode) == 0o600


def test_a_reader_that_does_not_read_hinders_nobody(start: Start, home: Path) -> None:
    stack = start(engine_plan("one"))
    stack.engine("one", is_ready)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lazy, feed_address(home) as address:
        lazy.connect(address)
        last = stack.until(lambda _: True).sequence
        stack.until(lambda seen: seen.sequence > last + 4)


def test_a_feed_whose_socket_was_removed_is_found_again(start: Start, home: Path) -> None:
    stack = start(engine_plan("one"))
    before = stack.engine("one", is_ready)
    (home / FEED_NAME).unlink()
    assert stack.engine("one", is_ready).pid == before.pid


def test_garbage_from_a_router_hinders_nobody(start: Start, home: Path) -> None:
    stack = start(engine_plan("one"))
    view = stack.engine("one", is_ready)
    use = b'{"schema": 2, "sequence": 1, "wanted": {}, "uses": {"%s": {"in_flight": "many"}}}\n' % view.url.encode()
    for garbage in (b"{}\n", b"\xff\n", use, b'{"schema": 2, "uses": 1}\n', b"x" * 2**20):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as router, feed_address(home) as address:
            router.settimeout(LIMIT_S)
            router.connect(address)
            with suppress(ConnectionError):
                router.sendall(garbage)
                while router.recv(2**16):
                    pass
    last = stack.until(lambda _: True).sequence
    after = stack.until(lambda seen: seen.sequence > last + 2)
    assert [(each.pid, each.state) for each in after.engines] == [(view.pid, EngineState.READY)]


def test_a_home_that_was_removed_takes_everything_along(start: Start, home: Path) -> None:
    stack = start(engine_plan("one"))
    child = stack.engine("one", is_ready).pid
    assert child
    shutil.rmtree(home)
    assert stack.process.wait(LIMIT_S) == 0
    assert start_ticks(child) is None


def test_the_supervisor_is_small(start: Start) -> None:
    stack = start(engine_plan("one"))
    stack.engine("one", is_ready)
    pages = int(Path(f"/proc/{stack.process.pid}/statm").read_text().split()[1])
    assert pages * os.sysconf("SC_PAGESIZE") < MOST_RSS_BYTES


def test_a_reused_pid_is_never_signalled() -> None:
    me = ProcessId.of(os.getpid())
    assert me
    assert me.lives()
    stranger = ProcessId(me.pid, me.ticks + 1)
    stranger.tell(signal.SIGKILL)
    assert not stranger.lives()


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose disk takes no record of a supervisor."""
    make_home(tmp_path)
    plan_path(tmp_path).write_text(plan_of().to_json())
    monkeypatch.setenv("SPILLWAY_HOME", str(tmp_path))

    def write(_: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("engines.reign.write_own_record", write)
    # What a supervisor is to the system, the process of the tests shall not become.
    monkeypatch.setattr("engines.reign.ctypes.CDLL", lambda _: SimpleNamespace(prctl=lambda *_: 0))
    monkeypatch.setattr("engines.reign.signal.signal", lambda *_: None)
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
    monkeypatch.setattr("engines.reign.write_own_record", write_own_record)
    assert (reign.keep_record(), reign.has_record) == (True, True)
    found = running_supervisor(full_disk)
    assert found
    assert found.pid == os.getpid()


def test_one_whose_end_was_ordered_meanwhile_does_not_write_itself_down(full_disk: Path) -> None:
    record_path(full_disk, "supervisor").write_text("of the one before")
    reign = Reign.begin()
    record_path(full_disk, "supervisor").unlink()
    assert not reign.keep_record()
