"""Keepers without their supervisor, with real processes: they go on, start the next, or stop when it was ordered."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from engines.home import end_all, make_home, running_supervisor, wait_gone
from engines.processes.keeper import Orders
from engines.processes.orphans import descendants, is_dying, start_ticks
from engines.processes.process import Kept
from engines.processes.record import ProcessId, Record, read_records, record_path, records_folder, take_end
from engines.processes.remains import bury
from tests.routers import until

LIMIT_S = 30.0
# Says that it runs, then takes its place, and says so.
REVIVED = """
import os, signal, sys
from pathlib import Path
from engines.home import write_own_record
home = Path(sys.argv[1])
with (home / "started").open("a") as file: print(os.getpid(), file=file)
if (home / "gate").exists(): (home / "gate").read_text()
write_own_record(home)
with (home / "reigned").open("a") as file: print(os.getpid(), file=file)
signal.pause()
"""
FIRST = """
import json, os, signal, sys
from pathlib import Path
from engines.home import write_own_record
from engines.processes.keeper import Orders
from engines.processes.process import Kept
home = Path(sys.argv[1])
write_own_record(home)
kept = [Kept.start(Orders(**orders), dict(os.environ)) for orders in json.loads(sys.argv[2])]
signal.pause()
"""
CHILD = "import signal; signal.pause()"
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    make_home(path)
    return path


@pytest.fixture
def first(home: Path) -> Iterator[Start]:
    """A process that is the supervisor of `home` and has started children that outlive it."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*names: str, script: str = CHILD) -> subprocess.Popen[bytes]:
        orders = [orders_for(home, name, script)._asdict() for name in names]
        started.append(subprocess.Popen([sys.executable, "-c", FIRST, str(home), json.dumps(orders)]))
        until(lambda: len(children(home)) == len(names))
        return started[-1]

    yield run
    for each in started:
        each.kill()
        each.wait()
    end_all(home)


def orders_for(home: Path, name: str, script: str) -> Orders:
    return Orders(
        name=name,
        command=[sys.executable, "-c", script],
        log=str(home / "logs" / f"{name}.log"),
        record=str(record_path(home, name)),
        scratch=None,
        grace_s=0.5,
        outlives=True,
        reviver=[sys.executable, "-c", REVIVED, str(home)],
    )


def children(home: Path) -> list[Record]:
    return [record for record in read_records(home) if record.name != "supervisor"]


def pids_in(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def has_reigned(home: Path, times: int) -> bool:
    return len(pids_in(home / "reigned")) == times


def all_serve(home: Path, pid: int) -> bool:
    logs = [home / "logs" / f"{record.name}.log" for record in children(home)]
    return all(log.exists() and f"supervisor {pid} has taken over" in log.read_text() for log in logs)


def test_when_the_supervisor_is_killed_one_keeper_starts_the_next_and_the_children_live_on(
    home: Path, first: Start
) -> None:
    supervisor = first("one", "two", "three")
    before = children(home)
    supervisor.kill()
    supervisor.wait()
    for times in (1, 2):
        until(partial(has_reigned, home, times))
        found = running_supervisor(home)
        assert found is not None
        assert found.pid == pids_in(home / "reigned")[-1]
        until(partial(all_serve, home, found.pid))
        # Nothing of a keeper: it must not go with it.
        assert [record for record in before if found.pid in descendants(record.keeper.pid)] == []
        found.tell(signal.SIGKILL)
        assert wait_gone(found, LIMIT_S)
    assert children(home) == before
    assert all(record.child and record.child.lives() for record in before)


def test_a_supervisor_whose_record_is_gone_has_ended_in_order(home: Path, first: Start) -> None:
    supervisor = first("one")
    (record,) = children(home)
    record_path(home, "supervisor").unlink()
    supervisor.kill()
    assert wait_gone(record.keeper, LIMIT_S)
    assert record.child
    assert not record.child.lives()
    assert not (home / "started").exists()
    assert "ended in order" in (home / "logs" / "one.log").read_text()


def test_nothing_stays_of_a_home_that_was_removed(home: Path, first: Start) -> None:
    supervisor = first("one")
    (record,) = children(home)
    shutil.rmtree(home)
    supervisor.kill()
    assert wait_gone(record.keeper, LIMIT_S)
    assert record.child
    assert not record.child.lives()


def test_a_stack_that_is_taken_down_while_it_is_revived_stays_down(home: Path, first: Start) -> None:
    supervisor = first("one")
    os.mkfifo(home / "gate")
    supervisor.kill()
    supervisor.wait()
    until(lambda: bool(pids_in(home / "started")))
    revived = ProcessId.of(pids_in(home / "started")[0])
    assert revived
    assert end_all(home) == 1
    (home / "gate").write_text("go")
    assert wait_gone(revived, LIMIT_S)
    assert not (home / "reigned").exists()
    assert list(records_folder(home).iterdir()) == []
    assert "was taken down" in (home / "logs" / "supervisor.log").read_text()


@pytest.mark.parametrize("when", ["after it", "with it"])
def test_a_child_that_dies_with_the_supervisor_leaves_word_and_its_keeper_still_starts_the_next(
    home: Path, first: Start, when: str
) -> None:
    supervisor = first("one")
    (record,) = children(home)
    assert record.child
    if when == "with it":
        record.keeper.tell(signal.SIGSTOP)
    supervisor.kill()
    supervisor.wait()
    record.child.tell(signal.SIGKILL)
    record.keeper.tell(signal.SIGCONT)
    until(lambda: has_reigned(home, 1))
    assert wait_gone(record.keeper, LIMIT_S)
    (told,) = records_folder(home).glob("*.ended")
    end = take_end(told)
    assert end is not None
    assert (end.name, end.ended) == ("one", 128 + signal.SIGKILL)


def test_a_supervisor_with_a_kill_on_its_way_counts_as_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as doomed:
        assert not is_dying(doomed.pid)
        doomed.kill()
        until(lambda: is_dying(doomed.pid))
    assert not is_dying(doomed.pid)


def test_two_at_once_take_a_stack_down_together(home: Path, first: Start) -> None:
    supervisor = first("one", "two")
    records = children(home)
    found: list[int] = []
    both = [threading.Thread(target=lambda: found.append(end_all(home))) for _ in range(2)]
    for each in both:
        each.start()
    supervisor.wait()
    for each in both:
        each.join(LIMIT_S)
    assert sorted(found) in ([0, 1], [0, 2], [0, 3])
    assert [record for record in records if record.keeper.lives() or (record.child and record.child.lives())] == []
    assert not (home / "started").exists()
    assert list(records_folder(home).iterdir()) == []


@pytest.mark.parametrize("stopped", ["supervisor", "keeper", "child"])
def test_a_stack_with_a_stopped_process_is_taken_down(home: Path, first: Start, stopped: str) -> None:
    supervisor = first("one")
    (record,) = children(home)
    assert record.child
    pids = {"supervisor": supervisor.pid, "keeper": record.keeper.pid, "child": record.child.pid}
    os.kill(pids[stopped], signal.SIGSTOP)
    threading.Thread(target=supervisor.wait).start()
    assert end_all(home) >= 1
    assert [pid for pid in pids.values() if start_ticks(pid)] == []
    assert list(records_folder(home).iterdir()) == []


def test_what_killed_keepers_left_while_nobody_was_there_is_found_by_their_records(
    home: Path, first: Start, tmp_path: Path
) -> None:
    left = tmp_path / "left"
    script = (
        "import os, signal\n"
        f"if os.fork() == 0:\n open({str(left)!r}, 'a').write(f'{{os.getpid()}}\\n')\n signal.pause()\n"
        "signal.pause()\n"
    )
    supervisor = first("one", "two", script=script)
    until(lambda: len(pids_in(left)) == 2)
    victims = children(home)
    supervisor.kill()
    for record in victims:
        record.keeper.tell(signal.SIGKILL)
    supervisor.wait()
    assert None not in [start_ticks(pid) for pid in pids_in(left)]
    assert [bury(home, record) for record in victims] == [True, True]
    assert [start_ticks(pid) for pid in pids_in(left)] == [None, None]
    assert children(home) == []


async def test_a_keeper_that_does_not_obey_is_killed_and_what_it_leaves_is_swept(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engines.processes.process.KILL_LIMIT_S", 0.1)
    monkeypatch.setattr("engines.processes.process.LOOK_S", 0.05)
    script = (
        "import os, signal\nfor number in (10, 15): signal.signal(number, signal.SIG_IGN)\nos.fork()\nsignal.pause()\n"
    )
    deaf = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    until(lambda: bool(descendants(deaf.pid)))
    keeper, below = ProcessId.of(deaf.pid), descendants(deaf.pid)
    assert keeper
    record = Record("deaf", keeper, None, None)
    record_path(home, "deaf").write_text(
        json.dumps({"name": "deaf", "keeper": [keeper.pid, keeper.ticks], "child": [0, None], "scratch": None})
    )
    adopted = Kept.adopt(record, home)
    adopted.kill()
    assert await adopted.wait() == -999
    assert [pid for pid in (deaf.pid, *below) if start_ticks(pid)] == []
    assert read_records(home) == ()
    deaf.wait()
