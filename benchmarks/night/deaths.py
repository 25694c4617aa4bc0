"""Faults that end or stop processes: of an engine, of the supervisor, of the keepers, of the router."""

from __future__ import annotations

from signal import SIGKILL, SIGSTOP

from benchmarks.night.case import Aims, Case, Strike
from benchmarks.night.kinship import CORE, ROUTER, WORKER, Process
from benchmarks.night.night import Night
from benchmarks.night.scenery import MODEL, Engines, Scenery
from benchmarks.night.signs import another_supervisor, as_before, both, disturbed

REAL = Scenery(Engines.REAL)
PAIR = Scenery(Engines.REAL, tensor_parallel=2)
FAKE = {Engines.FAKE: Scenery(Engines.FAKE)}
# Back: whenever its start has ended, which takes vLLM half a minute on two idle cores.
DEATH = Aims(found_s=2.0, away_s=1.0, back_s=120.0)
# vLLM's server notices by itself that what computes for it is gone, and takes its time to end.
INNER_DEATH = Aims(found_s=10.0, away_s=1.0, back_s=120.0)
# Ten seconds, and what the prompts that wait may rightly take: 25 tokens a second is what every processor is trusted
# with, until a longer prompt has shown how fast it is.
HANG = Aims(found_s=10.0, reading_tokens_per_s=25.0, away_s=5.0, back_s=120.0)


async def kill_server(night: Night) -> None:
    """As the kernel does when memory is short."""
    night.tell(night.server(), SIGKILL)


async def kill_core(night: Night) -> None:
    night.tell(night.inner(CORE), SIGKILL)


async def kill_worker(night: Night) -> None:
    night.tell(night.inner(WORKER), SIGKILL)


async def stop_server(night: Night) -> None:
    night.tell(night.server(), SIGSTOP)


async def stop_core(night: Night) -> None:
    """The fake one is told to make no more steps, while its server goes on answering `/health` and `/metrics`."""
    if night.stage.scenery.engines is Engines.REAL:
        night.tell(night.inner(CORE), SIGSTOP)
        return
    night.mark()
    await night.visitors.post(f"{night.view().url}/_switch", {"mode": "hang"})


async def stop_worker(night: Night) -> None:
    night.tell(night.inner(WORKER), SIGSTOP)


async def kill_supervisor(night: Night) -> None:
    night.tell(night.stage.kin.supervisor(), SIGKILL)


async def kill_all_but_engines(night: Night) -> None:
    """Supervisor first, or it would start the others again."""
    kin = night.stage.kin
    doomed: list[Process] = [kin.supervisor(), kin.keeper(ROUTER)]
    router = kin.records()[ROUTER].child
    night.mark()
    for process in (*doomed, *([router] if router else [])):
        process.tell(SIGKILL)


async def kill_keeper(night: Night) -> None:
    night.tell(night.record().keeper, SIGKILL)


def _death(name: str, what: str, strike: Strike) -> Case:
    return Case(name, what, strike, DEATH, REAL, disturbed, as_before, other=FAKE)


def _inner_death(name: str, what: str, strike: Strike, scenery: Scenery = REAL) -> Case:
    return Case(name, what, strike, INNER_DEATH, scenery, disturbed, as_before)


def _hang(name: str, what: str, strike: Strike, scenery: Scenery = REAL) -> Case:
    other = FAKE if scenery is REAL else {}
    return Case(name, what, strike, HANG, scenery, disturbed, as_before, other=other, rate=4.0)


_REVIVED = both(another_supervisor, as_before)
_LOSS = Aims(found_s=5.0, back_s=10.0, keeps_streams=True, keeps=(MODEL,))
_GREAT_LOSS = Aims(found_s=5.0, back_s=15.0, may_lose=True, keeps=(MODEL,))
CASES = (
    Case(
        "kill-supervisor", "kill -9 of the supervisor", kill_supervisor, _LOSS, REAL, another_supervisor, _REVIVED,
        other=FAKE,
    ),
    Case(
        "kill-all-but-engines", "kill -9 of supervisor, router and the router's keeper", kill_all_but_engines,
        _GREAT_LOSS, REAL, another_supervisor, _REVIVED, other=FAKE,
    ),
    _death("kill-api-server", "kill -9 of vLLM's API server", kill_server),
    _inner_death("kill-engine-core", "kill -9 of vLLM's EngineCore", kill_core),
    _death("kill-keeper", "kill -9 of the engine's keeper", kill_keeper),
    _hang("stop-api-server", "SIGSTOP of vLLM's API server", stop_server),
    _hang("stop-engine-core", "SIGSTOP of vLLM's EngineCore, whose server goes on answering", stop_core),
    _inner_death("kill-worker", "kill -9 of one of two workers", kill_worker, PAIR),
    _hang("stop-worker", "SIGSTOP of one of two workers", stop_worker, PAIR),
)  # fmt: skip
