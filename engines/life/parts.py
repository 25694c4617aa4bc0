"""The processes that an engine is made of: when one of them is gone so is the engine, whatever its server still says.

vLLM's server answers on for seconds after its core or a worker has died (0.33: a watchdog of 5 s), and with several
workers the others wait for the dead one first.
"""

from __future__ import annotations

from pathlib import Path

from engines.processes.orphans import descendants
from engines.processes.record import ProcessId


def vital_parts(keeper_pid: int, title: str) -> tuple[ProcessId, ...]:
    """Those below the keeper whose title begins so; () for an engine that can lose any of its processes."""
    if not title:
        return ()
    found = (ProcessId.of(pid) for pid in descendants(keeper_pid) if _title(pid).startswith(title))
    return tuple(each for each in found if each)


def _title(pid: int) -> str:
    """As the kernel knows it: the first 15 letters."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
