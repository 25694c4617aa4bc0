"""May an engine start on its GPUs now? Memory must be steady, and enough of it free.

Pure: readings over time in, a verdict out. vLLM takes what is free at its start as the truth until it has loaded: what
another program takes meanwhile is charged to it, and what one gives back makes it abort (vLLM 0.33, gpu_worker.py).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from engines.gpus.gpu import Gpu, GpuProcess, Gpus
from engines.gpus.watch import Reading
from engines.plan import EnginePlan

GIB = 2**30
# The driver gives memory back after a process has ended, within seconds; more than this long, and it never will.
GIVE_BACK_S = 30.0
# Where nothing of ours has ended, only a short look at others is due.
FOREIGN_S = 3.0
STEADY_S = 1.0
# Displays and idle programs breathe; CUDA contexts are larger than this.
STIR_BYTES = 64 * 2**20
# Processes' memory and the card's never add up exactly: contexts, page tables, the driver's own.
UNEXPLAINED_BYTES = 512 * 2**20


class Verdict(StrEnum):
    """What to do now."""

    WAIT = "wait"
    GO = "go"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Waiting:
    """One wait for memory. `ended_s`: how long ago something of ours ended on these GPUs (None: never). `usual_bytes`:
    what no process held before anything of ours ran, by UUID. `ours`: pids of our own processes; `names` of others.
    `held_bytes`: what the engine itself holds already, by UUID, if it only wakes up."""

    waited_s: float = 0.0
    ended_s: float | None = None
    usual_bytes: Mapping[str, int] = field(default_factory=dict)
    ours: Collection[int] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    held_bytes: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_returning(self) -> bool:
        """Whether memory of ours may still be on its way back."""
        return self.ended_s is not None and self.ended_s - self.waited_s < GIVE_BACK_S

    @property
    def is_patient(self) -> bool:
        return self.waited_s < (GIVE_BACK_S if self.is_returning else FOREIGN_S)


@dataclass(frozen=True, slots=True)
class Settled:
    """The verdict, and why in words for the user (what is waited for, what is missing and who holds it). `unreturned`:
    GPUs that do not give back what an engine of ours had, each with words that begin with a verb."""

    verdict: Verdict
    why: str = ""
    unreturned: Mapping[str, str] = field(default_factory=dict)


GO = Settled(Verdict.GO)


def settled(plan: EnginePlan, readings: Sequence[Reading], waiting: Waiting) -> Settled:
    """Whether to launch. `readings` are of this wait, oldest first."""
    if not readings:
        return _unread(waiting)
    last = readings[-1].gpus
    gpus = {gpu.uuid: gpu for gpu in last.seen}
    if missing := [uuid for uuid in plan.gpu_uuids if uuid not in gpus]:
        why = f"{', '.join(missing)} cannot be used: {_fault(last, missing)}"
        return Settled(Verdict.WAIT if waiting.is_patient else Verdict.REFUSE, why)
    cards = [gpus[uuid] for uuid in plan.gpu_uuids]
    short = [card for card in cards if _missing_bytes(plan, card, waiting) > 0]
    if not short:
        is_settled = _is_steady(plan, readings) and not (waiting.is_returning and _is_returning(cards, waiting))
        return GO if is_settled or not waiting.is_patient else Settled(Verdict.WAIT, "waiting for GPU memory to settle")
    if waiting.is_patient:
        missing_bytes = _missing_bytes(plan, short[0], waiting)
        return Settled(Verdict.WAIT, f"waiting for {_size(missing_bytes)} of GPU memory to be given back")
    lost = {card.uuid: _lost(card, waiting) for card in short if waiting.ended_s is not None and is_lost(card, waiting)}
    return Settled(Verdict.REFUSE, "; ".join(_refusal(plan, card, waiting) for card in short), lost)


def is_lost(card: Gpu, waiting: Waiting) -> bool:
    """Whether memory of the dead is still in use, as far as the driver can tell that: it says how much every process
    holds, and none of these is a stranger's."""
    if any(process.used_bytes is None or process.pid not in waiting.ours for process in card.processes or ()):
        return False
    return unexplained_bytes(card) > waiting.usual_bytes.get(card.uuid, 0) + UNEXPLAINED_BYTES


def _lost(card: Gpu, waiting: Waiting) -> str:
    size = _size(unexplained_bytes(card) - waiting.usual_bytes.get(card.uuid, 0))
    return f"has not given back {size}, {waiting.ended_s or 0.0:.0f} s after an engine there ended"


def _missing_bytes(plan: EnginePlan, card: Gpu, waiting: Waiting) -> int:
    return need_bytes(plan, card) - waiting.held_bytes.get(card.uuid, 0) - card.free_bytes


def unexplained_bytes(card: Gpu) -> int:
    """What a card holds that no living process holds: the driver's own, and memory of the dead on its way back."""
    held_bytes = sum(process.used_bytes or 0 for process in card.processes or ())
    return max(0, card.used_bytes - held_bytes)


def need_bytes(plan: EnginePlan, gpu: Gpu) -> int:
    """What must be free at the start: vLLM's own check, `ceil(total * utilization)` (v1/worker/utils.py)."""
    if plan.gpu_memory_utilization is not None:
        return math.ceil(gpu.cuda_bytes * plan.gpu_memory_utilization)
    parts = plan.sum
    return parts.weights_bytes + parts.activation_bytes + parts.graph_bytes + parts.kv_bytes


def _unread(waiting: Waiting) -> Settled:
    """A driver that does not answer in time is no reason to stay down: vLLM looks for itself, and its start has a
    deadline."""
    return Settled(Verdict.WAIT, "waiting for the NVIDIA driver to answer") if waiting.is_patient else GO


def _fault(gpus: Gpus, missing: Sequence[str]) -> str:
    named = [fault for fault in gpus.faults if any(uuid in fault for uuid in missing)]
    return "; ".join(named) or gpus.why_none or "the driver does not list it any more. Run `spillway plan`"


def _is_steady(plan: EnginePlan, readings: Sequence[Reading]) -> bool:
    """Whether used memory has stood still for a while. The youngest reading that is old enough is compared."""
    last = readings[-1]
    earlier = [each for each in readings if last.began_s - each.began_s >= STEADY_S]
    if not earlier:
        return False
    since = [each for each in readings if each.began_s >= earlier[-1].began_s]
    used = [{gpu.uuid: gpu.used_bytes for gpu in each.gpus.seen} for each in since]
    return all(
        max(found.get(uuid, 0) for found in used) - min(found.get(uuid, 0) for found in used) <= STIR_BYTES
        for uuid in plan.gpu_uuids
    )


def _is_returning(cards: Sequence[Gpu], waiting: Waiting) -> bool:
    return any(
        unexplained_bytes(card) > waiting.usual_bytes.get(card.uuid, 0) + UNEXPLAINED_BYTES
        for card in cards
        if all(process.used_bytes is not None for process in card.processes or ())
    )


def _refusal(plan: EnginePlan, card: Gpu, waiting: Waiting) -> str:
    share = "" if plan.gpu_memory_utilization is None else f", {plan.gpu_memory_utilization:.4f} of the card"
    need = f"{_size(need_bytes(plan, card))}{share}"
    sentence = f"{card.name} {card.uuid} has {_size(card.free_bytes)} free and this engine needs {need}"
    strangers = [process for process in card.processes or () if process.pid not in waiting.ours]
    if not strangers:
        return f"{sentence}. The driver names nobody who holds the rest: a process that ended badly, or a container's"
    held = ", ".join(_holder(process, waiting.names) for process in strangers)
    return f"{sentence}. It is held by {held}: end that, or leave it room with [gpus] reserve_gib in stack.toml"


def _holder(process: GpuProcess, names: Mapping[int, str]) -> str:
    name = f" ({names[process.pid]})" if process.pid in names else ""
    size = "an unknown amount" if process.used_bytes is None else _size(process.used_bytes)
    return f"process {process.pid}{name} with {size}"


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB"
