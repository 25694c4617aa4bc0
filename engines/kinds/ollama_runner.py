"""The llama-server below an Ollama, whose own page counts its steps.

Ollama's pages tell nothing of the kind. The variable LLAMA_ARG_ENDPOINT_METRICS, which it hands on, opens the page
(llama.cpp, tools/server/README.md); the port stands on the process's command line.
"""

from __future__ import annotations

import asyncio
import time

from engines.kinds.ollama_api import counts_in, steps_in
from engines.kinds.ollama_processes import runner_ports
from engines.kinds.wire import EngineSilentError, Wire

METRICS_S = 1.0
# Looking through /proc takes some milliseconds.
LOOK_EVERY_S = 1.0


# Steps, prompt tokens, tokens made.
Counts = tuple[int, int, int]


class RunnerCount:
    """What the llama-server of one run has counted. Its counts go on over reloads, each of which starts a new one."""

    def __init__(self, http: Wire, run: str) -> None:
        self._http, self._run = http, run
        self._port: int | None = None
        self._looked_at_s: float | None = None
        self._steps: int | None = None
        self._before: Counts = (0, 0, 0)
        self._last: Counts = (0, 0, 0)
        self.is_gone = False

    @property
    def steps(self) -> int | None:
        """None where nothing is loaded or nothing is told."""
        return self._steps

    @property
    def prompt_tokens(self) -> int:
        return self._before[1] + self._last[1]

    @property
    def generated_tokens(self) -> int:
        return self._before[2] + self._last[2]

    async def read(self, is_loaded: bool) -> None:
        """One look at its page, if there is one. `is_gone`: Ollama still lists the model, but the process that we knew
        has ended (until the next request, server/sched.go, needsReload). A silent one keeps its last count."""
        if not is_loaded or not self._run:
            self._port, self._steps, self.is_gone = None, None, False
            return
        known = self._port
        if known is not None and await self._read_page(known):
            return
        now_s = time.monotonic()
        if self._looked_at_s is not None and now_s - self._looked_at_s < LOOK_EVERY_S:
            return
        self._looked_at_s = now_s
        ports = await asyncio.to_thread(runner_ports, self._run)
        if known is not None and not ports:
            self.is_gone, self._steps = True, None
        elif ports and ports[-1] != known:
            self._port, self.is_gone = ports[-1], False
            await self._read_page(self._port)

    async def _read_page(self, port: int) -> bool:
        try:
            page = await self._http.get(f"http://127.0.0.1:{port}/metrics", METRICS_S)
        except EngineSilentError:
            return False
        steps = steps_in(page)
        if steps is None:
            return False
        now = (steps, *counts_in(page))
        if steps < self._last[0]:
            self._before = _added(self._before, self._last)
        self._last, self.is_gone = now, False
        self._steps = self._before[0] + steps
        return True


def _added(one: Counts, other: Counts) -> Counts:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]
