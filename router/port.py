"""The port where applications find the router: opened by one process, or once for each worker that shares it."""

from __future__ import annotations

import errno
import socket

# Connections that wait until the router takes them; the kernel cuts it to its own limit.
BACKLOG = 2048


class PortError(Exception):
    """The port cannot be had; the text says why and how to mend it."""


def open_port(host: str, port: int) -> socket.socket:
    """A socket that listens at `port` (0: a free one), which nobody else can open. Raises PortError."""
    listening = _bound(host, port, shared=False)
    _listen(listening)
    return listening


def open_shared_port(host: str, port: int, holders: int) -> tuple[socket.socket, ...]:
    """One bound socket per holder, all at the same port: the kernel spreads connections over those that listen, and
    none of them does yet. Raises PortError, also where a program listens that shares its port with whoever asks."""
    if port:
        # Another router would let us in, and each would take a part of the other's connections.
        open_port(host, port).close()
    sockets = [_bound(host, port, shared=True)]
    while len(sockets) < holders:
        sockets.append(_bound(host, port_of(sockets[0]), shared=True))
    return tuple(sockets)


def port_of(bound: socket.socket) -> int:
    return int(bound.getsockname()[1])


def address(bound: socket.socket) -> str:
    """The root of the router's URLs."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


def _bound(host: str, port: int, shared: bool) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise PortError(_why_not(error, host, port)) from error
    return bound


def _listen(bound: socket.socket) -> None:
    # Two programs can bind while neither listens: only this shows that the port is ours.
    try:
        bound.listen(BACKLOG)
    except OSError as error:
        host, port = bound.getsockname()[:2]
        bound.close()
        raise PortError(_why_not(error, host, port)) from error


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        place = f"{host}:{port}"
        return f"port {place} is taken by another program; stop it, or set another port in [endpoint] of stack.toml"
    return f"cannot listen on {host}:{port}: {error.strerror}"
