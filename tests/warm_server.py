"""Imports the console script once and runs its verbs in processes forked from here: `python -m tests.warm_server PATH`.

Listens on the Unix socket PATH, until its stdin closes. An order is a line of JSON; its answer is the exit code, once
the verb has ended.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any

from engines import cli

# What verbs import when they need it; nothing here reads the environment before it is used.
WARM = ("httpx", "engines.fetching", "engines.up")
DRIVER = "libnvidia-ml.so.1"


def main() -> None:
    for name in WARM:
        import_module(name)
    with socket(AF_UNIX, SOCK_STREAM) as door:
        door.bind(sys.argv[1])
        door.listen()
        print("ready", flush=True)
        gc.freeze()
        while door in select.select([door, sys.stdin], [], [])[0]:
            asked, _ = door.accept()
            with asked:
                order = _forked(asked)
            if order is not None:
                break
            _reap(os.WNOHANG)
        else:
            _reap(0)
            return
    _become(order)
    cli.main()


def _forked(asked: socket) -> dict[str, Any] | None:
    """The order, in the process that is to carry it out; None here."""
    if os.fork():
        return None
    order: dict[str, Any] = json.loads(asked.makefile().readline())
    if (verb := os.fork()) == 0:
        return order
    _, status = os.waitpid(verb, 0)
    asked.sendall(b"%d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _reap(options: int) -> None:
    """Bury those who waited for a verb: only so does what verbs took count as what the tests took."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


def _become(order: dict[str, Any]) -> None:
    """Take over what a process of its own would have been started with."""
    for number, path in enumerate((os.devnull, order["stdout"], order["stderr"])):
        opened = os.open(path, os.O_WRONLY if number else os.O_RDONLY)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["folder"])
    _load_driver()
    sys.argv = order["command"]


def _load_driver() -> None:
    """The dynamic loader reads LD_LIBRARY_PATH when a program starts, and this one has. A library that is loaded is
    found by its name wherever it lies."""
    folders = [Path(each) for each in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if each]
    for library in [each / DRIVER for each in folders if (each / DRIVER).exists()][:1]:
        ctypes.CDLL(str(library))


if __name__ == "__main__":
    main()
