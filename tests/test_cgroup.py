"""Control groups of children, where this machine lets us make one, and what the kernel tells of lack of memory."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.home import make_home
from engines.processes import cgroup
from engines.processes.orphans import start_ticks
from engines.processes.record import ProcessId, Record, record_path
from engines.processes.remains import bury
from tests.routers import until


@pytest.fixture
def group() -> Iterator[str]:
    made = cgroup.make(f"spillway-test-{os.getpid()}")
    if made is None:
        pytest.skip("no control group can be made here (cgroup v2, writable)")
    yield made
    cgroup.kill(made)
    until(lambda: not cgroup.members(made))
    cgroup.remove(made)


# Its own session, nothing of ours in its environment: only the group still knows it.
AWAY = """
import os, signal, sys
from engines.processes import cgroup
cgroup.enter(sys.argv[1], 5)
if os.fork() == 0:
    os.setsid()
    os.execve(sys.executable, [sys.executable, "-c", "import signal; signal.pause()"], {})
signal.pause()
"""


def test_what_a_killed_keeper_left_is_found_by_its_group(group: str, tmp_path: Path) -> None:
    make_home(tmp_path)
    with subprocess.Popen([sys.executable, "-c", AWAY, group]) as child:
        until(lambda: len(cgroup.members(group)) == 2)
        left = cgroup.members(group) - {child.pid}
        child.send_signal(signal.SIGKILL)
    gone = ProcessId(child.pid, 0)
    record_path(tmp_path, "one").write_text("{}")
    assert bury(tmp_path, Record("one", gone, gone, None, cgroup=group))
    assert [pid for pid in left if start_ticks(pid)] == []
    assert not Path(group).exists()
    assert not record_path(tmp_path, "one").exists()


def test_a_group_is_killed_at_once(group: str) -> None:
    with subprocess.Popen([sys.executable, "-c", AWAY, group]):
        until(lambda: len(cgroup.members(group)) == 2)
        cgroup.kill(group)
    until(lambda: not cgroup.members(group))


def test_a_machine_without_groups_gives_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "ROOTS", (str(tmp_path),))
    assert cgroup.make("one") is None
    (tmp_path / "cgroup.procs").touch()
    own = tmp_path / "own"
    own.write_text("1:cpu:/\n0::/\n")
    monkeypatch.setattr(cgroup, "OWN", str(own))
    # A folder like one of an old kernel: it cannot be killed as a whole, so it is of no use.
    assert cgroup.make("one") is None
    assert not (tmp_path / "one").exists()


def test_the_machines_victims_count_if_they_are_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vmstat = tmp_path / "vmstat"
    monkeypatch.setattr(cgroup, "VMSTAT", str(vmstat))
    vmstat.write_text("nr_free_pages 7\noom_kill 3\n")
    count = cgroup.OomCount(None)
    assert not count.has_grown()
    vmstat.write_text("nr_free_pages 7\noom_kill 4\n")
    assert count.has_grown()
    # A large process takes longer to die than until the next look; two looks later it is an old story.
    count.look()
    assert count.has_grown()
    count.look()
    assert not count.has_grown()
    vmstat.unlink()
    assert not count.has_grown()


def test_a_groups_own_victims_count_exactly(tmp_path: Path) -> None:
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom 0\noom_kill 0\noom_group_kill 0\n")
    count = cgroup.OomCount(str(tmp_path))
    assert count.is_exact
    assert not count.has_grown()
    events.write_text("low 0\noom 1\noom_kill 1\noom_group_kill 0\n")
    assert count.has_grown()
