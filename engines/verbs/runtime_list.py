"""`spillway runtime list`."""

from __future__ import annotations

from engines import runtime as runtimes


def run() -> None:
    for name in runtimes.RUNTIMES:
        one = runtimes.runtime(name)
        print(f"{one.name} {one.version}  {'ready' if runtimes.is_ready(one) else 'not installed'}  {one.root}")
