"""Processes that a benchmark starts end with it, also those that will not."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from benchmarks import process as processes
from benchmarks.process import process

DEAF = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("deaf at http://127.0.0.1:1/v1", flush=True)
time.sleep(600)
"""


def test_who_is_deaf_to_the_end_is_killed_with_all_that_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_S", 0.2)
    (tmp_path / "deaf.py").write_text(DEAF)
    before = set(psutil.Process().children(recursive=True))
    with process("deaf", environment={**os.environ, "PYTHONPATH": str(tmp_path)}) as url:
        assert url == "http://127.0.0.1:1"
        started = [each for each in psutil.Process().children(recursive=True) if each not in before]
        assert len(started) == 2
    gone, alive = psutil.wait_procs(started, timeout=10)
    assert (len(gone), alive) == (2, [])


def test_who_does_not_start_is_named(tmp_path: Path) -> None:
    (tmp_path / "mute.py").write_text("")
    with (
        pytest.raises(ValueError, match="mute did not start"),
        process("mute", environment={**os.environ, "PYTHONPATH": str(tmp_path)}),
    ):
        pytest.fail("it did not start")
