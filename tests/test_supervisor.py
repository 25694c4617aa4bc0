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
from engines.snapshot import FEED_NAME, EngineState, EngineView, Snapshot, feed_address
from tests.supervised import LIMIT_S, Start, Supervised, engine_plan, is_ready, kill, run_supervisor

MOST_RSS_BYTES = 70 * 2**20


def pids_in(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()]


def fifo(folder: Path) -> Path:
    path = folder / "fifo"
    os.mkfifo(path)
    return path


def is_loading(view: EngineView) -> bool:
    return view.state is EngineState.LOADING and view.pid is not None


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    """One whose engine is left alone."""
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


def test_an_end_nobody_asked_for_is_a_failure_and_is_tried_again(start: Start) -> None:
    codes = {"good": 0, "bad": 3}
    stack = start(*(engine_plan(name, "--end-with", str(code), device=name) for name, code in codes.items()))
    said: dict[str, str | None] = {}

    def have_failed(seen: Snapshot) -> bool:
        said.update({view.name: view.last_error for view in seen.engines if view.state is EngineState.FAILED})
        return len(said) == len(codes)

    stack.until(have_failed)
    assert said == {name: f"it ended with exit code {code}: RuntimeError: told to end" for name, code in codes.items()}
    stack.until(lambda seen: all(view.restarts >= 2 for view in seen.engines))


def test_whoever_kills_engine_or_keeper_the_engines_worker_goes_too_and_the_engine_comes_back(
    start: Start, tmp_path: Path
) -> None:
    workers = {name: tmp_path / name for name in ("one", "two")}
    stack = start(*(engine_plan(name, "--worker", str(path), device=name) for name, path in workers.items()))
    first = {name: stack.engine(name, is_ready).pid for name in workers}
    engine, record = stack.record("one").child, stack.record("two")
    assert engine
    kill(engine)
    kill(record.keeper)
    second = {name: stack.engine(name, lambda view: is_ready(view) and view.restarts == 1) for name in workers}
    assert "SIGKILL" in str(second["one"].last_error)
    for name, path in workers.items():
        pid = first[name]
        assert pid
        assert (start_ticks(pid), second[name].pid == pid) == (None, False)
        assert [start_ticks(each) is None for each in pids_in(path)] == [True, False]
    assert record.scratch
    assert not Path(record.scratch).exists()


def test_what_a_killed_supervisor_and_killed_keepers_leave_is_found_by_its_records_and_the_next_one_takes_over(
    start: Start, home: Path, tmp_path: Path
) -> None:
    workers = tmp_path / "workers"
    stack = start(engine_plan("one", "--worker", str(workers)))
    stack.engine("one", is_ready)
    keepers = [record.keeper for record in read_records(home) if record.name != "supervisor"]
    stack.process.kill()
    stack.process.wait()
    for keeper in keepers:
        kill(keeper)
    end_all(home)
    assert [start_ticks(pid) for pid in pids_in(workers)] == [None]
    assert read_records(home) == ()
    assert start(engine_plan("one")).engine("one", is_ready).restarts == 0


def test_a_second_supervisor_is_refused(calm: Supervised, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_supervisor(calm.home).wait() == 1
    assert "another supervisor runs in" in capfd.readouterr().err


def test_term_stops_everything_what_still_starts_included(start: Start, home: Path, tmp_path: Path) -> None:
    stack = start(engine_plan("one"), engine_plan("two", "--wait-for", str(fifo(tmp_path)), device="other"))
    stack.until(lambda seen: is_ready(seen.engines[0]) and is_loading(seen.engines[1]))
    processes = [record.child for record in read_records(home)]
    assert end_all(home) == 1
    assert stack.process.wait() == 0
    assert [process.lives() for process in processes if process] == [False] * 4
    assert not (home / FEED_NAME).exists()
    assert read_records(home) == ()
    assert running_supervisor(home) is None


def test_engines_of_one_device_start_one_after_the_other_and_those_of_two_together(
    start: Start, tmp_path: Path
) -> None:
    gate = fifo(tmp_path)
    stack = start(engine_plan("one", "--wait-for", str(gate)), engine_plan("two"), engine_plan("three", device="other"))
    held = stack.until(lambda seen: is_loading(seen.engines[0]) and is_ready(seen.engines[2]))
    assert (held.engines[1].progress, held.engines[1].pid) == ("waiting for its turn", None)
    gate.write_text("go")
    stack.until(lambda seen: all(is_ready(view) for view in seen.engines))


def test_a_killed_router_comes_back(calm: Supervised) -> None:
    first = calm.record("router").child
    assert first
    kill(first)
    calm.until(
        lambda _: any(
            record.name == "router" and record.child not in (None, first) for record in read_records(calm.home)
        )
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
