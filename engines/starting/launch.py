"""One engine process: its port, its folder for temporary files, its orders, and its keeper."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from engines.kinds import vllm
from engines.plan import EnginePlan
from engines.processes.keeper import Orders
from engines.processes.process import Kept, records_folder

# An engine on the CPU shares it with the router and the clients: they come first, or they wait for its tokens.
CPU_ENGINE_NICE = 5
LONGEST_SCRATCH_ROOT = 48
LOOPBACK = "127.0.0.1"


def log_path(home: Path, name: str) -> Path:
    """Where an engine's words go."""
    return home / "logs" / f"{name}.log"


def launch(plan: EnginePlan, home: Path, port: int) -> Kept:
    """Start the engine's process. Raises OSError if there is none to be had."""
    scratch = tempfile.mkdtemp(prefix="spillway-", dir=scratch_root())
    orders = Orders(
        name=plan.name,
        command=vllm.command(plan, port),
        log=str(log_path(home, plan.name)),
        record=str(records_folder(home) / f"{plan.name}.json"),
        scratch=scratch,
        grace_s=vllm.GRACE_S,
        nice=CPU_ENGINE_NICE if plan.cores else 0,
    )
    return Kept.start(orders, vllm.environment(plan, os.environ, scratch))


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
