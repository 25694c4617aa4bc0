"""The least that a router can be: `python pipe.py PORT ENGINE_PORT [leak]` carries bytes to the engine and back.

With `leak` it never closes a connection to the engine.
"""

from __future__ import annotations

import asyncio
import sys

PORT, ENGINE_PORT = int(sys.argv[1]), int(sys.argv[2])
LEAKED: list[asyncio.StreamWriter] = []


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one side hangs up."""
    engine_reader, engine_writer = await asyncio.open_connection("127.0.0.1", ENGINE_PORT)
    both = [asyncio.create_task(carry(reader, engine_writer)), asyncio.create_task(carry(engine_reader, writer))]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    for each in both:
        each.cancel()
    await asyncio.gather(*both, return_exceptions=True)
    writer.close()
    if "leak" in sys.argv:
        LEAKED.append(engine_writer)
    else:
        engine_writer.close()


async def main() -> None:
    server = await asyncio.start_server(relay, "127.0.0.1", PORT, backlog=1024)
    await server.serve_forever()


asyncio.run(main())
