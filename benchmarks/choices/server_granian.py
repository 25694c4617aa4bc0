# /// script
# requires-python = ">=3.11"
# dependencies = ["aiohttp==3.14.5", "granian==2.8.7", "uvloop==0.23.0"]
# ///
"""granian (hyper, in Rust) with one worker on uvloop, the relay as raw ASGI."""

# Its dependencies are in the header alone, so the project's environment cannot resolve them.
# mypy: disable-error-code="import-not-found"

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops

from benchmarks.choices.client_aiohttp import open_client
from benchmarks.choices.relay import PORT, Relay

app = Relay(open_client)

if __name__ == "__main__":
    Granian(
        "benchmarks.choices.server_granian:app",
        port=PORT,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    ).serve()
