"""The stub engine: looks like vLLM, knows every answer beforehand, and is faster than any router in front of it.

Tokens are numbered, so that a client can prove that none was lost. Control addresses, with GET: `/_stub/delay/US`
between tokens, `/_stub/first/US` before the first, `/_stub/close-idle`, `/_stub/stats`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import socket

import uvloop

from benchmarks.loopback import listening, url_of
from benchmarks.stub_connection import StubConnection
from benchmarks.stub_engine import Fault, StubEngine
from benchmarks.tamper import Tamper

BACKLOG = 4096


async def served(listener: socket.socket, model: str, fault: Fault) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    engine = StubEngine(model, fault)
    connections: set[StubConnection] = set()
    server = await loop.create_server(lambda: StubConnection(engine, connections), sock=listener, backlog=BACKLOG)
    stopped = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stopped.set)
    # What lives now lives for ever: the collector need not look at it in the middle of a measurement.
    gc.freeze()
    print(f"stub engine at {url_of(listener)}/v1", flush=True)
    await stopped.wait()
    server.close()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port; the address is printed")
    parser.add_argument("--model", default="tiny", help="the served name (%(default)s)")
    faults = [each.value for each in Tamper]
    parser.add_argument("--tamper", choices=faults, default=Tamper.NONE.value, help="do this wrong (%(default)s)")
    parser.add_argument("--tamper-every", type=int, default=1, metavar="N", help="to every N-th answer (%(default)s)")


def main(options: argparse.Namespace) -> int:
    """Serve until told to stop. Raises ValueError or PortTaken with a sentence."""
    if options.tamper_every < 1:
        raise ValueError("--tamper-every must be at least 1.")
    fault = Fault(Tamper(options.tamper), options.tamper_every)
    uvloop.run(served(listening(options.port), options.model, fault))
    return 0
