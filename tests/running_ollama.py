"""An Ollama under a real keeper for tests: the stand-in as a process, a registry, and the pulse that asks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Any

from engines.kinds.http import EngineHttp
from engines.kinds.ollama import OLLAMA, RUN_ENV, pinned_name
from engines.kinds.ollama_processes import runner_ports
from engines.kinds.ollama_pulse import OllamaPulse
from engines.life.lifecycle import Event
from engines.memory.shape import Shape
from engines.plan import CPU, EnginePlan, Runtime, Sum
from engines.processes.keeper import Orders
from engines.processes.orphans import descendants, marked_members
from engines.processes.process import Kept
from tests.ports import unused_port
from tests.stand_in_ollama import binary
from tests.stand_in_registry import StandInRegistry

LONGEST_S = 30.0
NAME = "llama3.2:3b"


def add_model(registry: StandInRegistry, weights: bytes = b"weights" * 4096, parameters: Mapping[str, Any] = {}) -> str:
    """The model NAME in the registry. Returns its digest."""
    layers = [registry.layer("model", weights)]
    if parameters:
        layers.append(registry.layer("params", json.dumps(dict(parameters)).encode()))
    return registry.add(f"library/{NAME}", layers)


def ollama_plan(program: Path, digest: str, **changes: Any) -> EnginePlan:
    """Two slots of 4096 tokens on the CPU unless told otherwise."""
    gpus = changes.pop("gpu_uuids", ())
    plan = EnginePlan(
        name="llama",
        kind="ollama",
        runtime=Runtime("ollama", "", (str(program), "serve")),
        model="llama",
        folder=NAME,
        revision=digest,
        dtype="float16",
        device=",".join(gpus) or CPU,
        gpu_uuids=gpus,
        gpu_name="Card" if gpus else CPU,
        cores=() if gpus else (0,),
        shape=Shape(tensor_parallel=max(1, len(gpus)), context_tokens=4096, max_num_seqs=2, max_num_batched_tokens=512),
        gpu_memory_utilization=None,
        kv_blocks=None,
        cpu_kv_cache_gib=1,
        max_num_queued_reqs=None,
        port=unused_port(),
        extra_args=(),
        sum=Sum(),
        served_name=pinned_name(NAME, digest),
        slots=2,
    )
    return replace(plan, **changes)


@dataclass
class Running:
    """One run. `said` is what it told of its start."""

    plan: EnginePlan
    folder: Path
    kept: Kept
    http: EngineHttp
    pulse: OllamaPulse
    mark: str
    said: list[tuple[str, Event | None]] = field(default_factory=list)

    @property
    def state(self) -> Path:
        """The folder of the stand-in's switches."""
        return self.folder / "ollama"

    def say(self, words: str, event: Event | None) -> None:
        self.said.append((words, event))

    async def prepare(self) -> None:
        """Ask until it is prepared; it does not answer at once."""
        async with asyncio.timeout(LONGEST_S):
            while not await self.pulse.prepare(self.say):
                await asyncio.sleep(0.02)

    def asked(self, path: str) -> list[dict[str, Any]]:
        """What came for this address so far."""
        log = self.state / "asked.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        return [asked for line in lines if (asked := json.loads(line))["path"] == path]

    async def ps(self) -> list[dict[str, Any]]:
        models: list[dict[str, Any]] = json.loads(await self.http.get(f"{self.pulse.url}/api/ps", 5.0))["models"]
        return models

    async def ask(self, **more: Any) -> dict[str, Any]:
        """A request as the router makes it."""
        body = {"model": self.plan.served_name, "prompt": "Where does the water go?", "max_tokens": 3, **more}
        answer: dict[str, Any] = json.loads(await self.http.post(f"{self.pulse.url}/v1/completions", body, LONGEST_S))
        return answer

    def processes(self) -> set[int]:
        """All of this run, the llama-server included."""
        return marked_members(f"{RUN_ENV}={self.mark}")

    def runner(self) -> int:
        """The pid of its llama-server."""
        ports = runner_ports(f"{RUN_ENV}={self.mark}")
        return next(pid for pid in self.processes() if str(ports[-1]) in _words(pid))

    def serve(self) -> int:
        """The pid of `ollama serve`."""
        child = self.kept.child()
        assert child
        return child.pid


def _words(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")


def new_mark() -> str:
    """By it a run's processes are found among all of the machine, those of tests beside this one too."""
    return f"run-{token_hex(4)}"


@asynccontextmanager
async def running_ollama(folder: Path, plan: EnginePlan) -> AsyncIterator[Running]:
    """From its launch to its end, whatever the block does."""
    mark = new_mark()
    kept = launched(folder, plan, mark)
    try:
        async with asking(folder, plan, mark, kept) as ollama:
            yield ollama
    finally:
        await end(kept)


@asynccontextmanager
async def asking(folder: Path, plan: EnginePlan, mark: str, kept: Kept) -> AsyncIterator[Running]:
    """One that runs, with somebody who asks it."""
    async with EngineHttp() as http:
        yield Running(plan, folder, kept, http, OLLAMA.pulse(http, plan, plan.port, mark), mark)


def launched(folder: Path, plan: EnginePlan, mark: str) -> Kept:
    """Its process, under a keeper."""
    scratch = folder / f"scratch-{mark}"
    scratch.mkdir(parents=True)
    (folder / "processes").mkdir(exist_ok=True)
    orders = Orders(
        name=mark,
        command=OLLAMA.command(plan, plan.port, mark),
        log=str(folder / f"{mark}.log"),
        record=str(folder / "processes" / f"{mark}.json"),
        scratch=str(scratch),
        grace_s=OLLAMA.grace_s,
    )
    return Kept.start(orders, OLLAMA.environment(plan, os.environ, str(scratch), plan.port))


async def end(kept: Kept) -> None:
    for pid in descendants(kept.keeper_pid):
        _continue(pid)
    kept.kill()
    await kept.wait()


def _continue(pid: int) -> None:
    """One that was stopped would not be seen to end."""
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return


async def until(holds: Callable[[], bool]) -> None:
    """Ask until it holds, for as long as a test may wait."""
    async with asyncio.timeout(LONGEST_S):
        while not holds():
            await asyncio.sleep(0.02)


def program(folder: Path) -> Path:
    """The stand-in, to be run as `ollama`."""
    return binary(folder / "ollama")
