"""Which processes of one run of Ollama there are: the server at a port, and the llama-server below it.

Ollama's pages cannot carry a mark of ours, and its model's digest is the same for every server of the model. But all
processes of a run have the run's variable in their environment, and a socket belongs to a process. Reads /proc.
"""

from __future__ import annotations

import os

from engines.processes.orphans import marked_members

LISTENING = "0A"


def listens(run: str, port: int) -> bool:
    """Whether a process of this run (`KEY=value` in its environment) has the listening socket at 127.0.0.1:port."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    return bool(sockets) and any(sockets & _open_files(pid) for pid in marked_members(run))


def runner_ports(run: str) -> list[int]:
    """The ports of the run's llama-servers, which Ollama chooses and tells nobody (llm/llama_server.go,
    startLlamaServer)."""
    found = (_runner_port(pid) for pid in sorted(marked_members(run)))
    return [port for port in found if port is not None]


def _runner_port(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().decode("utf-8", "replace").split("\0")
    except OSError:
        return None
    if "--model" not in words or "--port" not in words[:-1]:
        return None
    port = words[words.index("--port") + 1]
    return int(port) if port.isdigit() else None


def _listening_inodes(port: int) -> set[str]:
    """Of sockets that listen at this port of 127.0.0.1. Columns: proc(5), /proc/net/tcp."""
    address = f"0100007F:{port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file]
    return {row[9] for row in rows if row[1] == address and row[3] == LISTENING}


def _open_files(pid: int) -> set[str]:
    folder = f"/proc/{pid}/fd"
    found: set[str] = set()
    try:
        for name in os.listdir(folder):
            found.add(os.readlink(f"{folder}/{name}"))
    except OSError:
        # It ended, or closed one while we looked.
        return found
    return found
