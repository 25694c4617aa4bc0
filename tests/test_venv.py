"""The first `make` on a machine: what is shown while packages are fetched and unpacked. Python and pip are scripted."""

from __future__ import annotations

import os
import pty
import subprocess
import time
from pathlib import Path

import pytest

from tests.routers import LONGEST_WAIT_S

SCRIPT = Path(__file__).parents[1] / ".ci" / "venv"
# Its pip fetches three packages, unpacks two of them, and goes on when somebody writes into the pipe `go`.
PYTHON = """#!/bin/bash
case "$*" in
"-m venv .venv") mkdir -p .venv/bin .venv/lib/python3/site-packages/pip-1.dist-info; cp "$0" .venv/bin/python ;;
*"-r requirements.lock")
    for name in a b c; do echo "Collecting $name==1"; done
    echo "Installing collected packages: a, b, c"
    mkdir .venv/lib/python3/site-packages/{a,b}-1.dist-info
    read -r _ <go ;;
esac
"""


@pytest.mark.parametrize("terminal", [True, False], ids=["a terminal", "a log"])
def test_whoever_waits_sees_how_many_packages_are_there(tmp_path: Path, terminal: bool) -> None:
    (tmp_path / "requirements.lock").write_text("a==1\nb==1\nc==1\n")
    (tmp_path / "Makefile").touch()
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    os.mkfifo(tmp_path / "go")
    environment = {**os.environ, "PYTHON": str(tmp_path / "python"), "SPILLWAY_TICK_S": "0"}
    reading, writing = pty.openpty() if terminal else os.pipe()
    with subprocess.Popen([SCRIPT, ".venv/.made-1"], cwd=tmp_path, env=environment, stdout=writing) as child:
        os.close(writing)
        shown = b""
        until_s = time.monotonic() + LONGEST_WAIT_S
        while b"unpacking, 2 of 3 packages" not in shown:
            assert time.monotonic() < until_s, shown
            said = os.read(reading, 4096)
            assert said, shown
            shown += said
        (tmp_path / "go").write_text("on\n")
        assert child.wait(30) == 0
    os.close(reading)
    assert b"fetching, 3 of 3 packages: c==1" in shown
    # What changes has one line of a terminal, and lines of its own elsewhere.
    assert (b"\r\x1b[K" in shown) is terminal
    assert (tmp_path / ".venv" / ".made-1").exists()
