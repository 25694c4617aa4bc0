"""The supervisor with stand-in engines and real faults: it publishes, restarts, and leaves nothing behind."""

import os
import shutil
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from engines.following import follow
from engines.home import end_all, running_supervisor
from engines.processes.orphans import start_ticks
from engines.processes.record import ProcessId, read_records
from engines.snapshot import FEED_NAME, EngineState, feed_address
from tests.supervised import LIMIT_S, Start, Supervised, engine_plan, is_ready, kill, run_supervisor

MOST_RSS_BYTES = 70 * 2**20


def pids_in(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    """One that is only looked at."""
    running = Supervised.start(tmp_path_factory.mktemp("calm") / "home", engine_plan("one"))
    running.engine("one", is_ready)
    yield running
    running.end()


def test_a_ready_engine_is_published_with_its_load(calm: Supervised) -> None:
    view = calm.engine("one", lambda seen: is_ready(seen) and seen.load is not None)
    assert view.load is not None
    assert (view.load.running, view.load.waiting, view.load.kv_capacity_tokens) == (3, 2, 8192)
    assert view.load.age_s < 2
    assert (view.device, view.context_tokens, view.restarts, view.last_error) == ("cpu", 128, 0, None)
    assert view.pid is not None


def test_snapshots_are_numbered_without_gaps(calm: Supervised) -> None:
    feed = follow(calm.home)
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


def test_a_second_supervisor_is_refused(calm: Supervised, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_supervisor(calm.home).wait() == 1
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


def test_the_feed_is_for_its_owner_only(calm: Supervised) -> None:
    assert stat.S_IMODE((calm.home / FEED_NAME).stat().st_mode) == 0o600


def test_a_reader_that_does_not_read_hinders_nobody(calm: Supervised) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as lazy, feed_address(calm.home) as address:
        lazy.connect(address)
        last = calm.until(lambda _: True).sequence
        calm.until(lambda seen: seen.sequence > last + 4)


def test_a_feed_whose_socket_was_removed_is_found_again(calm: Supervised) -> None:
    before = calm.engine("one", is_ready)
    (calm.home / FEED_NAME).unlink()
    assert calm.engine("one", is_ready).pid == before.pid


def test_garbage_from_a_router_hinders_nobody(calm: Supervised) -> None:
    view = calm.engine("one", is_ready)
    use = b'{"schema": 2, "sequence": 1, "wanted": {}, "uses": {"%s": {"in_flight": "many"}}}\n' % view.url.encode()
    for garbage in (b"{}\n", b"\xff\n", use, b'{"schema": 2, "uses": 1}\n', b"x" * 2**20):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as router, feed_address(calm.home) as address:
            router.settimeout(LIMIT_S)
            router.connect(address)
            with suppress(ConnectionError):
                router.sendall(garbage)
                while router.recv(2**16):
                    pass
    last = calm.until(lambda _: True).sequence
    after = calm.until(lambda seen: seen.sequence > last + 2)
    assert [(each.pid, each.state) for each in after.engines] == [(view.pid, EngineState.READY)]


def test_a_home_that_was_removed_takes_everything_along(start: Start, home: Path) -> None:
    stack = start(engine_plan("one"))
    child = stack.engine("one", is_ready).pid
    assert child
    shutil.rmtree(home)
    assert stack.process.wait(LIMIT_S) == 0
    assert start_ticks(child) is None


def test_the_supervisor_is_small(calm: Supervised) -> None:
    pages = int(Path(f"/proc/{calm.process.pid}/statm").read_text().split()[1])
    assert pages * os.sysconf("SC_PAGESIZE") < MOST_RSS_BYTES


def test_a_reused_pid_is_never_signalled() -> None:
    me = ProcessId.of(os.getpid())
    assert me
    assert me.lives()
    stranger = ProcessId(me.pid, me.ticks + 1)
    stranger.tell(signal.SIGKILL)
    assert not stranger.lives()
