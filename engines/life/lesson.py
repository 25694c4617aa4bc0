"""What a good start teaches: its log, its seconds, and what the driver says of its GPUs before and after."""

from __future__ import annotations

from engines.gpus.gpu import Gpu
from engines.gpus.watch import Reading
from engines.life.run import Run
from engines.life.site import Site
from engines.processes.orphans import descendants
from engines.starting.gate import fresh
from engines.starting.learned import Surroundings, learned


async def teach(run: Run, site: Site, before: Reading | None, start_s: float) -> None:
    """Pass on what this start told. The driver is asked once more, so that its figures are of the ready engine."""
    ready = await fresh(site.watch) if site.watch and run.plan.gpu_uuids else None
    pids = frozenset(descendants(run.kept.keeper_pid))
    around = Surroundings(start_s, _cards(run, before), _cards(run, ready), pids)
    site.learn(run.plan, learned(run.recent, run.plan, around))


def _cards(run: Run, reading: Reading | None) -> tuple[Gpu, ...]:
    seen = reading.gpus.seen if reading else ()
    return tuple(gpu for gpu in seen if gpu.uuid in run.plan.gpu_uuids)
