"""One engine process: its port, its folder for temporary files, its orders, and its keeper."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

from engines.kinds.registry import kind_of
from engines.life.note import Note
from engines.processes.keeper import Orders
from engines.processes.process import Kept
from engines.processes.record import record_path

# An engine on the CPU shares it with the router and the clients: they come first, or they wait for its tokens.
CPU_ENGINE_NICE = 5
LONGEST_SCRATCH_ROOT = 48
LOOPBACK = "127.0.0.1"


def log_path(home: Path, name: str) -> Path:
    """Where an engine's words go."""
    return home / "logs" / f"{name}.log"


def launch(note: Note, home: Path, reviver: Sequence[str]) -> Kept:
    """Start the engine's process. Raises OSError if there is none to be had."""
    plan, kind = note.plan, kind_of(note.plan)
    scratch = tempfile.mkdtemp(prefix="spillway-", dir=scratch_root())
    orders = Orders(
        name=note.instance,
        command=kind.command(plan, note.port, note.mark),
        log=str(log_path(home, note.instance)),
        record=str(record_path(home, note.instance)),
        scratch=scratch,
        grace_s=kind.grace_s,
        nice=CPU_ENGINE_NICE if plan.cores else 0,
        outlives=bool(reviver),
        reviver=list(reviver),
        note=note.to_json(),
    )
    return Kept.start(orders, kind.environment(plan, os.environ, scratch, note.port))


def choose_port(planned: int, was_taken: bool) -> int:
    """The planned port if it is free, else any that is. One that an engine has just found taken is not tried again.

    Another program may take it before the engine does: then the next start chooses anew.
    """
    return planned if not was_taken and _is_free(planned) else free_port()


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As vLLM binds it: connections of the engine before may still be on their way out.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def scratch_root() -> str:
    """Where engines keep temporary files. vLLM puts Unix sockets there, whose names may have 107 bytes only."""
    usual = tempfile.gettempdir()
    return usual if len(usual) < LONGEST_SCRATCH_ROOT else "/tmp"
