# /// script
# requires-python = ">=3.11"
# dependencies = ["aiohttp==3.14.5", "hypercorn==0.18.0", "uvloop==0.23.0"]
# ///
"""hypercorn on asyncio or uvloop, the relay as raw ASGI."""

# Its dependencies are in the header alone, so the project's environment cannot resolve them.
# mypy: disable-error-code="import-not-found"

import argparse
import asyncio

import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config

from benchmarks.choices.client_aiohttp import open_client
from benchmarks.choices.relay import PORT, Relay

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="uvloop")
    run = uvloop.run if parser.parse_args().loop == "uvloop" else asyncio.run
    config = Config()
    config.bind = [f"127.0.0.1:{PORT}"]
    config.keep_alive_max_requests = 10**9
    run(serve(Relay(open_client), config))
