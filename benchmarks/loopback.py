"""Serve an aiohttp application on a loopback port until the process is told to stop.

It must not know what is served. The port is bound and listening before anything is printed, so whoever reads the
printed line can connect at once.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable

from aiohttp import web

HOST = "127.0.0.1"


class PortTaken(OSError):
    """The port cannot be bound."""


def listening(port: int) -> socket.socket:
    """A listening loopback socket; port 0 takes a free one. Raises PortTaken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise PortTaken(f"Port {port} of {HOST} is taken: stop what holds it or name another --port.") from error
    listener.listen(1024)
    return listener


def url_of(listener: socket.socket) -> str:
    """The address a client connects to."""
    return f"http://{HOST}:{listener.getsockname()[1]}"


async def serve(
    application: web.Application, listener: socket.socket, announce: Callable[[], None], *, heeds_term: bool = True
) -> None:
    """Serve until SIGTERM (unless told to ignore it) or SIGINT. A handler is cancelled when its client has gone."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT) if heeds_term else (signal.SIGINT,):
        loop.add_signal_handler(each, stopped.set)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        announce()
        await stopped.wait()
    finally:
        await runner.cleanup()
