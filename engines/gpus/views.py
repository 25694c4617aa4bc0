"""What a Snapshot says of the GPUs: the newest reading, how each is judged, and what strangers hold of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from engines.gpus.gpu import Gpu, GpuProcess
from engines.gpus.trouble import Trouble
from engines.gpus.watch import Reading
from engines.snapshot import GpuView

GIB = 2**30
# Displays and idle programs hold less than this, and nobody wants to read of them.
NOTED_BYTES = GIB
MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Strangers:
    """What others hold of one GPU, and who they are in words ("" where the driver does not tell)."""

    held_bytes: int
    words: str = ""


def strangers_of(
    gpus: Sequence[Gpu],
    ours: Collection[int],
    own_bytes: Mapping[str, int],
    name_of: Callable[[int], str | None],
) -> Mapping[str, Strangers]:
    """By UUID. `ours` are the pids of all processes of the stack. Where the driver does not tell what they hold, they
    hold `own_bytes`, what the plan has set aside for those that run: in a container it knows them by other pids, or
    lists none at all."""
    listed = {process.pid for gpu in gpus for process in gpu.processes or ()}
    # Pids are those of this machine where ours are among them, or all of them are somebody's here.
    is_our_machine = bool(listed) and (not listed.isdisjoint(ours) or all(name_of(pid) for pid in listed))
    found = {}
    for gpu in gpus:
        held_bytes = max(0, gpu.used_bytes - _own_bytes(gpu, ours, own_bytes.get(gpu.uuid, 0), is_our_machine))
        # Nobody is accused by a pid of another machine.
        others = [each for each in gpu.processes or () if each.pid not in ours] if is_our_machine else []
        found[gpu.uuid] = Strangers(held_bytes, _words(held_bytes, others, name_of))
    return found


def views_of(
    reading: Reading,
    troubles: Mapping[str, Trouble],
    foreign: Mapping[str, Strangers],
    now_s: float,
) -> tuple[GpuView, ...]:
    """Those that are seen in their order, then those that are not any more, as they were seen last."""
    age_s = max(0.0, now_s - reading.began_s)
    seen = [_view(gpu, troubles.get(gpu.uuid), foreign.get(gpu.uuid), now_s) for gpu in reading.gpus.seen]
    here = {gpu.uuid for gpu in reading.gpus.seen}
    away = [_absent(uuid, trouble, now_s) for uuid, trouble in troubles.items() if uuid not in here]
    return tuple(replace(view, age_s=age_s) for view in [*seen, *away])


def _view(gpu: Gpu, trouble: Trouble | None, strangers: Strangers | None, now_s: float) -> GpuView:
    trouble = trouble or Trouble(since_s=now_s)
    held = strangers.words if strangers and strangers.held_bytes >= NOTED_BYTES else ""
    return GpuView(
        uuid=gpu.uuid,
        name=gpu.name,
        total_bytes=gpu.total_bytes,
        used_bytes=gpu.used_bytes,
        free_bytes=gpu.free_bytes,
        foreign_bytes=strangers.held_bytes if strangers else None,
        state=trouble.state,
        why="; ".join(filter(None, (trouble.why, held))),
        in_state_s=max(0.0, now_s - trouble.since_s),
        temperature_c=gpu.health.temperature_c,
        power_w=gpu.health.power_w,
    )


def _absent(uuid: str, trouble: Trouble, now_s: float) -> GpuView:
    """Nothing can be had of it: none of its memory is free."""
    gpu = trouble.gpu
    return GpuView(
        uuid=uuid,
        name=gpu.name if gpu else "unknown GPU",
        total_bytes=gpu.total_bytes if gpu else 0,
        used_bytes=gpu.used_bytes if gpu else 0,
        free_bytes=0,
        state=trouble.state,
        why=trouble.why,
        in_state_s=max(0.0, now_s - trouble.since_s),
    )


def _own_bytes(gpu: Gpu, ours: Collection[int], set_aside: int, is_our_machine: bool) -> int:
    told = [process.used_bytes for process in gpu.processes or () if process.pid in ours]
    known = [each for each in told if each is not None]
    return sum(known) if is_our_machine and len(known) == len(told) else set_aside


def _words(held_bytes: int, others: Sequence[GpuProcess], name_of: Callable[[int], str | None]) -> str:
    if not held_bytes:
        return ""
    largest = sorted(others, key=lambda process: -(process.used_bytes or 0))
    named = [_named(process, name_of) for process in largest[:MOST_NAMED]]
    named += [f"{len(largest) - MOST_NAMED} more"] if len(largest) > MOST_NAMED else []
    return f"others hold {_gib(held_bytes)} of it" + (f": {', '.join(named)}" if named else "")


def _named(process: GpuProcess, name_of: Callable[[int], str | None]) -> str:
    held = "" if process.used_bytes is None else f" {_gib(process.used_bytes)}"
    return f"{name_of(process.pid) or 'process'} (pid {process.pid}){held}"


def _gib(count: int) -> str:
    return f"{count / GIB:.1f} GiB"
