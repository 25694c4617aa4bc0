"""How a keeper makes ready for its child and starts it. Standard library only and small: every keeper loads it."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Mapping, Sequence
from typing import NoReturn

from engines.processes import cgroup

PR_SET_PDEATHSIG = 1


def step_back(nice: int) -> None:
    """Linux shares the processors out by session: an engine that computes all the time would get as much as all
    who wait for its tokens. Kernels without such groups have no such file, and need nothing."""
    try:
        with open("/proc/self/autogroup", "w") as group:
            group.write(str(nice))
    except OSError:
        return


def signals_to_pipe(numbers: Sequence[int]) -> int:
    """These signals arrive as bytes on the returned pipe; those of a terminal are ignored."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return reader


def fork_child(
    command: Sequence[str], env: Mapping[str, str], folder: str | None, group: str | None, nice: int
) -> tuple[int, int]:
    """Its pid, and where all that it says can be read. `group` is its control group, if it has one."""
    output, writer = os.pipe()
    os.set_blocking(output, False)
    keeper, libc = os.getpid(), ctypes.CDLL(None)
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        # The signal goes with the keeper's death; it could have died before the call, hence the second look.
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != keeper:
            os._exit(1)
        if group is not None:
            cgroup.enter(group, nice)
        become(command, env, folder, writer)
    os.close(writer)
    return pid, output


def become(command: Sequence[str], env: Mapping[str, str], folder: str | None, output: int) -> NoReturn:
    """Turn the calling process, a fresh fork, into the command; never returns."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        if folder is not None:
            os.chdir(folder)
        os.execvpe(command[0], list(command), env)
    except OSError as error:
        os.write(2, f"cannot start {command[0]}: {error.strerror}\n".encode())
    finally:
        # Whatever fails: a second keeper must not go on from here.
        os._exit(127)
