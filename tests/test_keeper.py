"""The keeper with real children: whatever they do, nothing of them stays and nobody waits for their log."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from engines.processes.childlog import Log
from engines.processes.keeper import Orders
from engines.processes.orphans import start_ticks
from engines.processes.process import Kept, how_ended
from engines.processes.record import ProcessId, read_records

MOST_RSS_BYTES = 13 * 2**20


def orders_for(folder: Path, script: str, *arguments: str, grace_s: float = 5.0) -> Orders:
    (folder / "processes").mkdir(exist_ok=True)
    return Orders(
        name="child",
        command=[sys.executable, "-c", script, *arguments],
        log=str(folder / "child.log"),
        record=str(folder / "processes" / "child.json"),
        scratch=None,
        grace_s=grace_s,
    )


def start(orders: Orders) -> Kept:
    return Kept.start(orders, dict(os.environ))


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A pipe with a name: reading it waits until a child says something."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


async def heard(fifo: Path) -> list[int]:
    """The numbers that a child writes into the pipe."""
    return [int(word) for word in (await asyncio.to_thread(fifo.read_text)).split()]


SAYS_ITS_PID = "import os, sys, signal; open(sys.argv[1], 'w').write(str(os.getpid())); signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SAYS_ITS_PID
FORKS_AWAY = """
import os, signal, sys
pids = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            signal.pause()
        signal.pause()
    pids.append(pid)
open(sys.argv[1], 'w').write(' '.join(map(str, [os.getpid(), *pids])))
if sys.argv[2] == 'stay':
    signal.pause()
"""


STARTS_A_KEEPER = """
import json, os, signal, sys
from engines.processes.keeper import Orders
from engines.processes.process import Kept
kept = Kept.start(Orders(**json.loads(sys.argv[1])), dict(os.environ))
signal.pause()
"""


@pytest.mark.parametrize(("code", "words"), [(0, "exit code 0"), (7, "exit code 7")])
async def test_a_child_that_ends_gives_its_exit_code(tmp_path: Path, code: int, words: str) -> None:
    kept = start(orders_for(tmp_path, f"print('said'); raise SystemExit({code})"))
    assert how_ended(await kept.wait()) == words
    assert (tmp_path / "child.log").read_text().splitlines() == ["said", f"[keeper] child ended: {words}"]
    assert read_records(tmp_path) == ()


async def test_a_child_killed_by_a_signal_is_told_apart(tmp_path: Path) -> None:
    kept = start(orders_for(tmp_path, "import os; os.kill(os.getpid(), 9)"))
    assert how_ended(await kept.wait()) == "signal SIGKILL"


async def test_a_command_that_does_not_exist_says_so_in_the_log(tmp_path: Path) -> None:
    kept = start(orders_for(tmp_path, "")._replace(command=["no-such-program"]))
    assert await kept.wait() == 127
    assert "cannot start no-such-program" in (tmp_path / "child.log").read_text()


async def test_term_stops_the_child(tmp_path: Path, fifo: Path) -> None:
    kept = start(orders_for(tmp_path, SAYS_ITS_PID, str(fifo)))
    await heard(fifo)
    kept.terminate()
    assert how_ended(await kept.wait()) == "signal SIGTERM"


async def test_a_child_that_ignores_term_is_killed_after_its_grace(tmp_path: Path, fifo: Path) -> None:
    kept = start(orders_for(tmp_path, DEAF, str(fifo), grace_s=0.2))
    await heard(fifo)
    kept.terminate()
    assert how_ended(await kept.wait()) == "signal SIGKILL"


async def test_a_second_request_ends_the_grace(tmp_path: Path, fifo: Path) -> None:
    kept = start(orders_for(tmp_path, DEAF, str(fifo), grace_s=3600.0))
    await heard(fifo)
    kept.terminate()
    await asyncio.to_thread(insist, kept)
    assert how_ended(await kept.wait()) == "signal SIGKILL"


def insist(kept: Kept) -> None:
    # Signals of one kind merge while they are pending, so the second is sent until the child is gone.
    child = kept.child()
    assert child is not None
    while child.lives():
        kept.terminate()
        os.sched_yield()


@pytest.mark.parametrize("then", ["stay", "leave"])
async def test_grandchildren_in_other_sessions_go_with_the_child(tmp_path: Path, fifo: Path, then: str) -> None:
    kept = start(orders_for(tmp_path, FORKS_AWAY, str(fifo), then, grace_s=0.2))
    pids = await heard(fifo)
    if then == "stay":
        kept.terminate()
    await kept.wait()
    assert [pid for pid in pids if start_ticks(pid)] == []


async def test_the_end_of_the_lifeline_ends_the_child(tmp_path: Path, fifo: Path) -> None:
    orders = orders_for(tmp_path, FORKS_AWAY, str(fifo), "stay", grace_s=0.2)
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", STARTS_A_KEEPER, json.dumps(orders._asdict()))
    pids = await heard(fifo)
    record = read_records(tmp_path)[0]
    watch = os.pidfd_open(record.keeper.pid)
    owner.send_signal(signal.SIGKILL)
    await owner.wait()
    await readable(watch)
    assert [pid for pid in pids if start_ticks(pid)] == []


async def test_what_outlives_its_supervisor_is_adopted_with_its_note_and_its_end_is_learnt(
    tmp_path: Path, fifo: Path
) -> None:
    orders = orders_for(tmp_path, SAYS_ITS_PID, str(fifo))._replace(outlives=True, note="what it is")
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", STARTS_A_KEEPER, json.dumps(orders._asdict()))
    (pid,) = await heard(fifo)
    (record,) = read_records(tmp_path)
    adopted = Kept.adopt(record, tmp_path)
    assert (record.note, record.command, record.ended) == ("what it is", tuple(orders.command), None)
    assert adopted.child() == record.child == ProcessId.of(pid)
    adopted.terminate()
    assert how_ended(await adopted.wait()) == "signal SIGTERM"
    assert sorted(path.name for path in (tmp_path / "processes").iterdir()) == []
    owner.kill()
    await owner.wait()


async def test_a_child_gets_its_environment_and_the_keeper_that_of_its_starter(
    tmp_path: Path, fifo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_STARTER", "1")
    script = "import os, sys, signal; open(sys.argv[1], 'w').write(' '.join(os.environ)); signal.pause()"
    kept = Kept.start(orders_for(tmp_path, script, str(fifo)), {"PATH": os.environ["PATH"], "OWN": "x" * 100_000})
    names = set((await asyncio.to_thread(fifo.read_text)).split())
    assert names - {"LC_CTYPE"} == {"PATH", "OWN"}
    environment = Path(f"/proc/{kept.keeper_pid}/environ").read_bytes().split(b"\0")
    assert b"OF_THE_STARTER=1" in environment
    assert b"x" * 100_000 not in Path(f"/proc/{kept.keeper_pid}/cmdline").read_bytes()
    kept.terminate()
    await kept.wait()


async def test_kill_ends_a_stopped_tree_at_once(tmp_path: Path, fifo: Path) -> None:
    kept = start(orders_for(tmp_path, FORKS_AWAY, str(fifo), "stay", grace_s=3600.0))
    pids = await heard(fifo)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    kept.kill()
    assert how_ended(await kept.wait()) == "signal SIGKILL"
    assert [pid for pid in pids if start_ticks(pid)] == []


async def readable(fd: int) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(fd, over.set)
    await over.wait()
    asyncio.get_running_loop().remove_reader(fd)
    os.close(fd)


async def test_the_child_dies_with_a_killed_keeper(tmp_path: Path, fifo: Path) -> None:
    kept = start(orders_for(tmp_path, SAYS_ITS_PID, str(fifo)))
    (pid,) = await heard(fifo)
    watch = os.pidfd_open(pid)
    os.kill(kept.keeper_pid, signal.SIGKILL)
    assert how_ended(await kept.wait()) == "signal SIGKILL"
    await readable(watch)
    assert start_ticks(pid) is None


async def test_a_flood_is_rotated_and_never_blocks(tmp_path: Path) -> None:
    flood = "import sys\nfor number in range(200_000): sys.stdout.write(f'line {number}\\n')"
    kept = start(orders_for(tmp_path, flood)._replace(log_bytes=100_000, log_files=3))
    assert await kept.wait() == 0
    logs = sorted(path.name for path in tmp_path.glob("child.log*"))
    assert logs == ["child.log", "child.log.1", "child.log.2"]
    assert all(path.stat().st_size < 400_000 for path in tmp_path.glob("child.log*"))
    assert "child ended" in (tmp_path / "child.log").read_text()


async def test_the_scratch_folder_goes_with_the_child(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    script = "import os, socket; os.mkdir('deep'); socket.socket(socket.AF_UNIX).bind('deep/socket')"
    assert await start(orders_for(tmp_path, script)._replace(scratch=str(scratch))).wait() == 0
    assert not scratch.exists()


async def test_shared_memory_goes_with_the_child(tmp_path: Path, fifo: Path) -> None:
    script = (
        "from multiprocessing import resource_tracker, shared_memory\n"
        "import sys, signal\n"
        "resource_tracker.register = lambda *_: None\n"
        "memory = shared_memory.SharedMemory(create=True, size=4096)\n"
        "open(sys.argv[1], 'w').write(str(int(memory.name.removeprefix('psm_'), 16)))\n"
        "signal.pause()\n"
    )
    kept = start(orders_for(tmp_path, script, str(fifo)))
    segment = Path(f"/dev/shm/psm_{(await heard(fifo))[0]:08x}")
    assert segment.exists()
    kept.terminate()
    await kept.wait()
    assert not segment.exists()


async def test_shared_memory_from_before_stays_whoever_mapped_it(tmp_path: Path, fifo: Path) -> None:
    script = (
        "import mmap, os, sys, signal\n"
        "memory = mmap.mmap(os.open(sys.argv[2], os.O_RDWR), 4096)\n"
        "open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        "signal.pause()\n"
    )
    segment = Path(f"/dev/shm/spillway-test-{os.getpid()}")
    segment.write_bytes(bytes(4096))
    try:
        kept = start(orders_for(tmp_path, script, str(fifo), str(segment)))
        await heard(fifo)
        kept.terminate()
        await kept.wait()
        assert segment.exists()
    finally:
        segment.unlink()


async def test_a_keeper_is_small(tmp_path: Path, fifo: Path) -> None:
    kept = start(orders_for(tmp_path, SAYS_ITS_PID, str(fifo)))
    await heard(fifo)
    pages = int(Path(f"/proc/{kept.keeper_pid}/statm").read_text().split()[1])
    kept.terminate()
    await kept.wait()
    assert pages * os.sysconf("SC_PAGESIZE") < MOST_RSS_BYTES


def test_a_full_disk_drops_lines_and_says_so_later(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    log = Log(str(path), 1000, 2)
    log.write(b"lost\n")
    log._fd = os.open(tmp_path / "real", os.O_WRONLY | os.O_CREAT)
    log.write(b"kept\n")
    assert (tmp_path / "real").read_text() == "[keeper] the disk was full: 5 bytes of log are lost\nkept\n"
