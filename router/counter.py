"""The door to the process that counts tokens (`router.counting`): started when it is needed first, ended with us.

Counting is a service to routing, never a condition of it: whoever gets no count goes on with an estimate.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path

import orjson
import structlog

log = structlog.get_logger()

# For loading a vocabulary and counting a megabyte, three times over.
COUNT_S = 5.0


class Counter:
    """Belongs to one event loop. One text is counted at a time."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        # Files that could not be used, which are not tried again.
        self._bad: set[str] = set()

    async def count(self, path: str, text: str) -> int | None:
        """Tokens of the text by the tokenizer in this file; None where nobody can tell, or not in time."""
        if path in self._bad or not Path(path).is_file():
            # A model that is still to be downloaded has none yet.
            return None
        is_its_turn = False
        try:
            async with asyncio.timeout(COUNT_S), self._turn:
                is_its_turn = True
                return await self._asked(path, text)
        except (TimeoutError, OSError, ValueError) as error:
            log.warning("tokens cannot be counted", tokenizer=path, error=repr(error))
            # Who stood behind others for too long knows nothing against the file.
            if is_its_turn:
                self._bad.add(path)
        return None

    async def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            # To the end of both pipes, which would be left open else.
            await process.communicate()

    async def _asked(self, path: str, text: str) -> int | None:
        try:
            process = await self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(orjson.dumps({"path": path, "text": text}) + b"\n")
            await process.stdin.drain()
            answer = orjson.loads(await process.stdout.readline())
        except BaseException:
            # An answer that comes later would be taken for that to the next question.
            await self.close()
            raise
        if "error" in answer:
            raise ValueError(answer["error"])
        return int(answer["tokens"])

    async def _started(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            # In a session of its own it hears no signal that is meant for the router; it ends with its input.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "router.counting",
                stdin=PIPE,
                stdout=PIPE,
                start_new_session=True,
                env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
            )
        return self._process
