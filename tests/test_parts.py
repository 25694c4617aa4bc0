"""What an engine cannot lose, found among real processes below a keeper."""

import os
import shutil
import signal
import sys
from pathlib import Path

from engines.life.parts import vital_parts
from engines.processes.keeper import Orders
from engines.processes.process import Kept
from tests.routers import until


def kept_with(command: list[str], folder: Path) -> Kept:
    orders = Orders(
        name="one",
        command=command,
        log=str(folder / "one.log"),
        record=str(folder / "one.json"),
        scratch=None,
        grace_s=5.0,
    )
    return Kept.start(orders, dict(os.environ))


async def test_a_worker_is_a_part_by_its_title_and_is_missed_when_it_is_gone(tmp_path: Path) -> None:
    sleep = shutil.which("sleep")
    assert sleep
    worker = tmp_path / "VLLM::Worker_TP0"
    worker.symlink_to(sleep)
    words = f"import subprocess; subprocess.Popen([{str(worker)!r}, '60'], start_new_session=True).wait()"
    kept = kept_with([sys.executable, "-c", words + "\nimport time; time.sleep(60)"], tmp_path)
    try:
        until(lambda: bool(vital_parts(kept.keeper_pid, "VLLM::")))
        (part,) = vital_parts(kept.keeper_pid, "VLLM::")
        assert part.lives()
        assert vital_parts(kept.keeper_pid, "") == ()
        os.kill(part.pid, signal.SIGKILL)
        until(lambda: not part.lives())
    finally:
        kept.kill()
        await kept.wait()
