"""A running vLLM, asked from outside: does it answer, is it ours, what is its load, does it still make steps."""

from __future__ import annotations

import json
import time
from dataclasses import replace

from engines.kinds.canary import answers, makes_token
from engines.kinds.kind import Say
from engines.kinds.vllm_metrics import MetricsError, read_load, read_steps
from engines.kinds.wire import EngineSilentError, Wire
from engines.snapshot import EngineUse, Load

# Both answer within milliseconds; a hang has to be found within seconds.
HEALTH_S = 1.0
METRICS_S = 1.0
MODELS_S = 5.0
SLEEP_S = 120.0


class VllmPulse:
    """For one run of an engine, whose server also answers to the name `mark`; "" for one that has none."""

    def __init__(self, http: Wire, url: str, model: str, mark: str) -> None:
        self._http, self.url, self._model, self._mark = http, url, model, mark
        self._load: Load | None = None
        self._steps: int | None = None
        self._told_at_s: float | None = None
        self.fault: str | None = None

    async def prepare(self, say: Say) -> bool:
        """Nothing to do: vLLM answers once it has loaded."""
        return await self.is_healthy()

    async def is_ours(self) -> bool:
        """By the name that only this run has."""
        if not self._mark:
            return True
        try:
            page = json.loads(await self._http.get(f"{self.url}/v1/models", MODELS_S))
            return any(model["id"] == self._mark for model in page["data"])
        except (EngineSilentError, ValueError, KeyError, TypeError):
            return False

    async def completes(self, limit_s: float) -> bool:
        """/health alone is 200 even for a hung engine (vLLM 0.33, engine-core dead is all that it reads)."""
        return await makes_token(self._http, self.url, self._model, limit_s)

    async def is_healthy(self) -> bool:
        return await answers(self._http, f"{self.url}/health", HEALTH_S)

    async def listen(self) -> None:
        try:
            page = await self._http.get(f"{self.url}/metrics", METRICS_S)
        except EngineSilentError:
            return
        self._told_at_s = time.monotonic()
        self._steps = read_steps(page)
        try:
            self._load = read_load(page, 0.0)
        except MetricsError as error:
            self.fault = str(error)

    def load(self, now_s: float, use: EngineUse) -> Load | None:
        if self._load is None or self._told_at_s is None:
            return None
        return replace(self._load, age_s=round(now_s - self._told_at_s, 3))

    def steps(self) -> int | None:
        return self._steps

    def heard_s(self) -> float | None:
        return self._told_at_s

    async def is_asleep(self) -> bool:
        """A route of the development mode: without it there is no sleep."""
        try:
            page = json.loads(await self._http.get(f"{self.url}/is_sleeping", MODELS_S))
            return page["is_sleeping"] is True
        except (EngineSilentError, ValueError, KeyError, TypeError):
            return False

    async def sleep(self) -> None:
        """Level 1: weights to host memory, the KV cache dropped (vLLM 0.33, /sleep of the development mode)."""
        await self._http.post(f"{self.url}/sleep?level=1", None, SLEEP_S)

    async def wake(self) -> None:
        await self._http.post(f"{self.url}/wake_up", None, SLEEP_S)
