"""Names that nobody else has: in one process, in a forked one, and in one that was started later."""

from __future__ import annotations

import subprocess
import sys

from router.ids import Ids, new_id

FORK = """
import os
from router.ids import new_id
print(new_id(), flush=True)
if os.fork() == 0:
    print(new_id(), flush=True)
    os._exit(0)
os.wait()
print(new_id(), flush=True)
"""


def test_no_name_comes_twice() -> None:
    assert len({new_id() for _ in range(1000)} | {Ids()() for _ in range(5)}) == 1005


def test_neither_a_fork_nor_a_restart_repeats_a_name() -> None:
    runs = [subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True) for _ in range(2)]
    names = [name for run in runs for name in run.stdout.split()]
    assert len(names) == len(set(names)) == 6
