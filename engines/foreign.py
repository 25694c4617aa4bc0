"""How much of each GPU is held by others: all that is used, less what our own processes hold."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from engines.gpus.gpu import Gpu, Gpus
from engines.gpus.nvml import read_gpus
from engines.life.residency import rooms_of
from engines.plan import EnginePlan
from engines.processes.orphans import descendants
from engines.processes.record import Record
from engines.running import living_records, running_engines
from engines.starting.settle import GIVE_BACK_S, STIR_BYTES

PAUSE_S = 0.25


def foreign_bytes(gpus: Sequence[Gpu], home: Path) -> dict[str, int]:
    """By UUID; never less than nothing. What runs on after its supervisor is ours as before. Where the driver does not
    tell what our processes hold (in a container it knows them by other pids), those that run hold what the plan has set
    aside for them."""
    living = living_records(home)
    own, booked = _own_pids(living), _booked(running_engines(home, living))
    return {gpu.uuid: max(0, gpu.used_bytes - _own_bytes(gpu, own, booked)) for gpu in gpus}


def wait_given_back(
    others: Mapping[str, int],
    say: Callable[[str], None],
    read: Callable[[], Gpus] = read_gpus,
    limit_s: float = GIVE_BACK_S,
) -> None:
    """Until no more is used than others held while ours still ran: the driver takes memory back seconds after the end
    of a process, and a plan that is made before it has would count it as foreign. At most `limit_s`."""
    deadline_s = time.monotonic() + limit_s
    while others and time.monotonic() < deadline_s:
        if all(gpu.used_bytes <= others.get(gpu.uuid, gpu.used_bytes) + STIR_BYTES for gpu in read().seen):
            return
        say("waiting for GPU memory to be given back")
        time.sleep(PAUSE_S)


def _own_pids(living: Sequence[Record]) -> frozenset[int]:
    """Every process of the stack that runs, by its records."""
    keepers = {record.keeper.pid for record in living}
    return frozenset(keepers.union(*(descendants(pid) for pid in keepers)))


def _booked(engines: Sequence[EnginePlan]) -> Mapping[str, int]:
    """What the running engines may take of each GPU together. Of those that take turns no more than fit are awake."""
    booked: Counter[str] = Counter()
    for engine in engines:
        booked.update(dict.fromkeys(engine.gpu_uuids, engine.sum.total_bytes))
    return booked if all(engine.keep for engine in engines) else booked & Counter(rooms_of(engines))


def _own_bytes(gpu: Gpu, own: Collection[int], booked: Mapping[str, int]) -> int:
    told = [process.used_bytes for process in gpu.processes or () if process.pid in own]
    return sum(each or 0 for each in told) if told and None not in told else booked.get(gpu.uuid, 0)
