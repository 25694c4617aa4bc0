"""Runs verbs of the console script in processes forked from one that has imported it: each is spared a second's work.

Only the imports are shared: a verb has a process, arguments, an environment and an end of its own. Whoever tests how
the script itself starts, or sends it a signal, starts `tests.stacks.SPILLWAY`.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from tempfile import TemporaryDirectory


def ran(command: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run` that captures text. `command`: the console script's name and its words."""
    with TemporaryDirectory() as folder:
        told = [Path(folder, name) for name in ("stdout", "stderr")]
        for path in told:
            path.touch()
        order = {"command": list(command), "env": dict(env), "folder": os.getcwd()}
        with socket(AF_UNIX, SOCK_STREAM) as asked:
            asked.connect(_server())
            asked.sendall(json.dumps(order | {path.name: str(path) for path in told}).encode() + b"\n")
            code = asked.makefile().read()
        assert code, "the process that runs verbs has ended"
        return subprocess.CompletedProcess(command, int(code), *(path.read_text() for path in told))


@cache
def _server() -> str:
    """Where the one of this process listens; it ends with this process."""
    folder = TemporaryDirectory(prefix="warm-")
    path = str(Path(folder.name, "door"))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.warm_server", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(_end, process, folder)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return path


def _end(process: subprocess.Popen[str], folder: TemporaryDirectory[str]) -> None:
    with process:
        pass
    folder.cleanup()
