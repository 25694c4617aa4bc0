"""The file that all workers have of a provider's windows: what one takes the others see, whatever becomes of it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

from router.quotas.meter import Need
from router.quotas.pool import Pool, seen
from router.quotas.shared import SharedPool

TAKES = 400


def more(pool: Pool) -> Pool:
    """One more of a number that is easily read again."""
    old = pool.usual.get("count", Need(0))
    return Pool(pool.meters, {"count": Need(old.requests + 1)})


def count(shared: SharedPool) -> int:
    return shared.read().usual.get("count", Need(0)).requests


def test_what_one_writes_another_reads_at_once(tmp_path: Path) -> None:
    one, other = SharedPool(tmp_path / "p"), SharedPool(tmp_path / "p")
    assert other.read() == Pool()
    one.change(more)
    assert count(other) == 1
    other.change(more)
    assert count(one) == 2


def test_a_pool_that_nobody_changed_is_the_same_object(tmp_path: Path) -> None:
    one, other = SharedPool(tmp_path / "p"), SharedPool(tmp_path / "p")
    one.change(lambda pool: seen(pool, "big", Need(1, 2.0, 3.0)))
    first = other.read()
    assert other.read() is first
    one.change(lambda pool: pool)
    assert other.read() is first


def test_it_is_there_after_a_restart(tmp_path: Path) -> None:
    shared = SharedPool(tmp_path / "deep" / "folder" / "p")
    shared.change(more)
    shared.close()
    assert count(SharedPool(tmp_path / "deep" / "folder" / "p")) == 1


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    SharedPool(tmp_path / "p")
    assert (tmp_path / "p").stat().st_mode & 0o777 == 0o600


def test_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    shared = SharedPool(tmp_path / "p")
    shared.change(more)
    shared.close()
    content = bytearray((tmp_path / "p").read_bytes())
    start = content.index(b"count")
    content[start : start + 5] = b"wrong"
    (tmp_path / "p").write_bytes(content)
    again = SharedPool(tmp_path / "p")
    assert again.read() == Pool()
    again.change(more)
    assert count(again) == 1


def test_workers_that_take_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from router.quotas.shared import SharedPool;"
        "from tests.test_quotas_shared import TAKES, more; shared = SharedPool(Path(sys.argv[1]));"
        "[shared.change(more) for _ in range(TAKES)]"
    )
    workers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "p")]) for _ in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    assert count(SharedPool(tmp_path / "p")) == 3 * TAKES


def test_a_worker_that_stands_still_with_the_lock_does_not_stop_the_others(tmp_path: Path) -> None:
    shared = SharedPool(tmp_path / "p")
    holder = os.open(tmp_path / "p", os.O_RDWR)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        began_s = time.monotonic()
        shared.change(more)
        assert time.monotonic() - began_s < 1.0
        assert count(shared) == 1
    finally:
        os.close(holder)


def test_on_a_full_disk_it_counts_in_its_own_process(tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys; from pathlib import Path; from router.quotas.shared import SharedPool;"
        "from tests.test_quotas_shared import count, more; shared = SharedPool(Path(sys.argv[1]));"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0));"
        "[shared.change(more) for _ in range(3)]; print(count(shared))"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "p")], capture_output=True, text=True, check=True
    )
    assert said.stdout == "3\n"
