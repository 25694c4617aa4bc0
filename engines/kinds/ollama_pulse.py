"""A running Ollama, asked from outside: is the locked model there, is it loaded as planned, does it still make steps.

Ollama tells nothing of its queue; how busy it is follows from what routers have there and from its slots. Facts from
Ollama 0.33: docs/api.md, server/routes.go, server/sched.go.
"""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

from engines.kinds.canary import answers, makes_token
from engines.kinds.kind import NotServableError, Say
from engines.kinds.ollama_api import Loaded, OllamaAnswerError, is_permanent, loaded_in, sets_batch
from engines.kinds.ollama_processes import listens
from engines.kinds.ollama_pull import OllamaStore
from engines.kinds.ollama_runner import RunnerCount
from engines.kinds.wire import EngineSilentError, Wire
from engines.life.lifecycle import Event
from engines.memory.llama_cpp import BATCH_TOKENS
from engines.plan import GIB, EnginePlan
from engines.snapshot import EngineUse, Load

HEALTH_S = 5.0
PS_S = 2.0
UNLOAD_S = 60.0
UNLOAD_PAUSE_S = 0.1
# Ollama gives a load up itself when nothing has come for 5 minutes (OLLAMA_LOAD_TIMEOUT); a large one on a slow disk
# may go on for long.
LOAD_S = 3600.0
LEAST_LOAD_S, LOAD_EVERY_S = 30.0, 10.0
FOREVER = -1
LEAST_ON_GPU = 0.5
NOT_FOUND = 404
TOLD = re.compile(r'"error":\s*"(.*?)"?\}?$', re.DOTALL)


class OllamaPulse:
    """For one run of an engine, whose processes have `run` (`KEY=value`) in their environment; "" if they have not."""

    def __init__(self, http: Wire, plan: EnginePlan, url: str, run: str, models: Path) -> None:
        self._http, self._plan, self.url, self._run = http, plan, url, run
        self._port = int(url.rpartition(":")[2])
        self._name = plan.served_name or plan.folder
        self._slots = plan.slots or plan.shape.max_num_seqs
        self._store = OllamaStore(http, url, models, plan.folder, self._name, plan.revision)
        self._runner = RunnerCount(http, run)
        self._told_at_s: float | None = None
        self._is_wanted = False
        self._is_other = False
        self._loading: asyncio.Task[None] | None = None
        self._load_s = self._load_next_s = 0.0
        self._refused = ""
        self.fault: str | None = None

    async def prepare(self, say: Say) -> bool:
        """Pull what is missing, load it, and see how it lies in memory."""
        if not await self.is_healthy():
            return False
        try:
            await self._store.ensure(say)
            self._is_wanted = True
            say(f"loading {self._name}", Event.LOAD)
            await self._load_or_mend(say)
            self._accept(await self._seen())
        except (EngineSilentError, OllamaAnswerError) as error:
            if isinstance(error, EngineSilentError) and error.status is None:
                return False
            raise NotServableError(f"Ollama: {_words(error)}") from error
        return True

    async def _load_or_mend(self, say: Say) -> None:
        """A model whose files are gone is one that Ollama does not find: then it is fetched anew, once."""
        try:
            await self._load()
        except EngineSilentError as error:
            if error.status != NOT_FOUND:
                raise _refusal(error) from error
            await self._store.ensure(say, anew=True)
            say(f"loading {self._name}", Event.LOAD)
            try:
                await self._load()
            except EngineSilentError as again:
                raise _refusal(again) from again

    async def _load(self, limit_s: float = LOAD_S) -> None:
        """An empty request loads (docs/api.md, Load a model). It names no option that later requests do not have, for
        that would load it anew; but the batch, which Ollama would choose by the memory that happens to be free."""
        options = {} if await self._sets_batch() else {"num_batch": BATCH_TOKENS}
        began_s = time.monotonic()
        await self._generate({"keep_alive": FOREVER, "options": options}, limit_s)
        self._load_s = max(self._load_s, time.monotonic() - began_s)

    async def _sets_batch(self) -> bool:
        try:
            return sets_batch(await self._http.post(f"{self.url}/api/show", {"model": self._name}, HEALTH_S))
        except EngineSilentError as error:
            # What is wrong with the model, its load tells better.
            if error.status is None:
                raise
            return False

    async def _generate(self, more: dict[str, Any], limit_s: float) -> None:
        body = {"model": self._name, "prompt": "", "stream": False, **more}
        await self._http.post(f"{self.url}/api/generate", body, limit_s)

    async def _seen(self) -> Loaded | None:
        return loaded_in(await self._http.get(f"{self.url}/api/ps", PS_S), self._name)

    def _accept(self, loaded: Loaded | None) -> None:
        """Raises NotServableError where it cannot be let serve as it lies in memory."""
        if loaded is None:
            raise NotServableError(f"{self._name} was loaded, and Ollama has let it go again.")
        if self._differs(loaded):
            raise NotServableError(
                f"Ollama has loaded another {self._name} than models.lock names ({loaded.digest[:12]}).",
                is_permanent=True,
            )
        if (tokens := loaded.context_tokens) not in (None, self._plan.shape.context_tokens):
            raise NotServableError(
                f"Ollama runs {self._name} with a context of {tokens} tokens and not "
                f"{self._plan.shape.context_tokens}, by the model's own settings. Write context_tokens = {tokens}.",
                is_permanent=True,
            )
        if self._plan.gpu_uuids and loaded.on_gpu < LEAST_ON_GPU:
            raise NotServableError(f"{self._off_gpu(loaded)} {self._what_to_do(loaded)}")
        self.fault = self._fault(loaded)

    def _differs(self, loaded: Loaded) -> bool:
        return bool(self._plan.revision) and loaded.digest != self._plan.revision

    def _off_gpu(self, loaded: Loaded) -> str:
        off = loaded.size - loaded.size_vram
        return f"Ollama has put {off / GIB:.1f} of the {loaded.size / GIB:.1f} GiB of {self._name} on the CPU."

    def _what_to_do(self, loaded: Loaded) -> str:
        if loaded.size_vram == 0:
            return "It sees no GPU: see the log for what its discovery says of the driver."
        return "Others hold the GPU's memory, or it needs more than was planned: free some, or lower context_tokens."

    def _fault(self, loaded: Loaded | None) -> str | None:
        """What is wrong with it though it answers."""
        if loaded and self._differs(loaded):
            return f"Ollama serves another {self._name} than models.lock names ({loaded.digest[:12]})."
        if lost := self._lost(loaded):
            return (
                f"{lost}; it cannot be loaded again: {self._refused}"
                if self._refused
                else f"{lost}; it is loaded again."
            )
        if loaded and self._plan.gpu_uuids and not loaded.is_whole:
            return f"{self._off_gpu(loaded)} It is slow. {self._what_to_do(loaded)}"
        return None

    def _lost(self, loaded: Loaded | None) -> str:
        """What makes another load necessary, "" if nothing does."""
        if loaded is None:
            return f"Ollama has unloaded {self._name} by itself"
        if loaded.context_tokens not in (None, self._plan.shape.context_tokens):
            return f"{self._name} was loaded with a context of {loaded.context_tokens} tokens"
        return f"the llama-server of {self._name} has died" if self._runner.is_gone else ""

    async def is_ours(self) -> bool:
        """By the process that has the port, and the digest of what is loaded there, if anything is."""
        if self._run and not await asyncio.to_thread(listens, self._run, self._port):
            return False
        try:
            loaded = await self._seen()
        except (EngineSilentError, OllamaAnswerError):
            return False
        return loaded is None or not self._differs(loaded)

    async def completes(self, limit_s: float) -> bool:
        """As the router asks, so that the canary makes Ollama load nothing anew. While we load again what it has lost,
        it is at work, and its end would only begin the same load later."""
        if self._is_loading() or self._is_other:
            return not self._is_other
        return await makes_token(self._http, self.url, self._name, limit_s)

    async def is_healthy(self) -> bool:
        return await answers(self._http, f"{self.url}/api/version", HEALTH_S)

    async def listen(self) -> None:
        """What is not loaded as it should be is loaded again meanwhile: by the next request it would be too, but then
        that one waits."""
        try:
            loaded = await self._seen()
        except (EngineSilentError, OllamaAnswerError):
            # While it waits for memory to come back after an unload, up to 5 s, this page waits too.
            self._told_at_s = time.monotonic() if await self.is_healthy() else self._told_at_s
            return
        self._told_at_s = time.monotonic()
        await self._runner.read(is_loaded=loaded is not None)
        if not self._is_wanted or self._is_loading():
            return
        self.fault, self._is_other = self._fault(loaded), loaded is not None and self._differs(loaded)
        if self._lost(loaded) and not self._is_other and self._told_at_s >= self._load_next_s:
            self._load_next_s = self._told_at_s + LOAD_EVERY_S
            self._loading = asyncio.create_task(self._load_again())

    def _is_loading(self) -> bool:
        return self._loading is not None and not self._loading.done()

    async def _load_again(self) -> None:
        """With twice the time that it took first."""
        try:
            await self._load(max(LEAST_LOAD_S, 2 * self._load_s))
            self._refused = ""
        except EngineSilentError as error:
            self._refused = _words(error)

    def load(self, now_s: float, use: EngineUse) -> Load | None:
        """So many run as it has slots, the others wait; a slot has its part of the KV cache from the start."""
        if self._told_at_s is None:
            return None
        running = min(use.in_flight, self._slots)
        return Load(
            running=running,
            waiting=use.in_flight - running,
            kv_used_fraction=running / self._slots,
            kv_capacity_tokens=self._plan.shape.context_tokens * self._slots,
            prompt_tokens_total=self._runner.prompt_tokens,
            generation_tokens_total=self._runner.generated_tokens,
            preemptions_total=0,
            age_s=round(now_s - self._told_at_s, 3),
        )

    def steps(self) -> int | None:
        return self._runner.steps

    def heard_s(self) -> float | None:
        return self._told_at_s

    async def is_asleep(self) -> bool:
        """Whether its model is not loaded: that is all that its sleep is."""
        try:
            return await self._seen() is None
        except (EngineSilentError, OllamaAnswerError):
            return False

    async def sleep(self) -> None:
        """Unload. The answer comes before it has happened, so it is over only when /api/ps lists it no more."""
        self._is_wanted, self.fault = False, None
        if self._loading:
            await asyncio.wait({self._loading})
        await self._generate({"keep_alive": 0}, UNLOAD_S)
        end_s = time.monotonic() + UNLOAD_S
        try:
            while await self._seen() is not None:
                if time.monotonic() > end_s:
                    raise EngineSilentError(f"Ollama does not unload {self._name}")
                await asyncio.sleep(UNLOAD_PAUSE_S)
        except OllamaAnswerError as error:
            raise EngineSilentError(str(error)) from error

    async def wake(self) -> None:
        """Load it again, and let it serve only as it was let before."""
        await self._load()
        try:
            self._accept(await self._seen())
        except (NotServableError, OllamaAnswerError) as error:
            raise EngineSilentError(str(error)) from error
        self._is_wanted = True


def _words(error: Exception) -> str:
    """Ollama's own, out of the error's text."""
    found = TOLD.search(str(error))
    return found[1] if found else str(error)


def _refusal(error: EngineSilentError) -> Exception:
    """Why a load failed; a server that fell silent refuses nothing."""
    if error.status is None:
        return error
    words = _words(error)
    return NotServableError(f"Ollama cannot load the model: {words}", is_permanent=is_permanent(words))
