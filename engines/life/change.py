"""What a new plan changes: which engines go on, which start, end, or take the place of another, and in which order.

Pure: plans and free bytes in, names out. `engines.crew.crew` carries it out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from engines.plan import EnginePlan

# Measured terms move a share a little from plan to plan. vLLM takes whole hundredths of a card as its check at the
# start, so a neighbour's start does not fail for less.
SHARE_SLACK = 0.01


@dataclass(frozen=True, slots=True)
class Changes:
    """From what runs to what is wanted, by name. In `keep`, `start` and `replace` in the order of what is wanted."""

    keep: tuple[str, ...]
    start: tuple[str, ...]
    stop: tuple[str, ...]
    replace: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Due:
    """What may begin now: engines that start, and engines that must be drained before their successor can start."""

    start: tuple[str, ...]
    drain: tuple[str, ...]


def changes(running: Sequence[EnginePlan], wanted: Sequence[EnginePlan]) -> Changes:
    """Names are unique among `running` and among `wanted`."""
    before = {each.name: each for each in running}
    names = {each.name for each in wanted}
    old = [each for each in wanted if each.name in before]
    kept = {each.name for each in old if is_same(before[each.name], each)}
    return Changes(
        keep=tuple(each.name for each in old if each.name in kept),
        start=tuple(each.name for each in wanted if each.name not in before),
        stop=tuple(each.name for each in running if each.name not in names),
        replace=tuple(each.name for each in old if each.name not in kept),
    )


def is_same(running: EnginePlan, wanted: EnginePlan) -> bool:
    """Whether the engine that runs is what is wanted, so that its restart would gain nothing that was asked for.

    The arithmetic and the port say nothing of what it serves, and when it may sleep or how long it drains is not the
    engine's own matter. One that could only have a larger share of its GPU now, because a neighbour left, goes on.
    """
    alike = replace(with_wishes_of(running, wanted), sum=wanted.sum, port=wanted.port)
    if running.gpu_memory_utilization is not None and wanted.gpu_memory_utilization is not None:
        if running.gpu_memory_utilization > wanted.gpu_memory_utilization + SHARE_SLACK:
            return False
        alike = replace(
            alike,
            gpu_memory_utilization=wanted.gpu_memory_utilization,
            max_num_queued_reqs=wanted.max_num_queued_reqs,
        )
    return alike == wanted


def with_wishes_of(running: EnginePlan, wanted: EnginePlan) -> EnginePlan:
    """The engine that runs, with all that can be wanted of it differently while it does."""
    return replace(
        running,
        keep=wanted.keep,
        min_residence_s=wanted.min_residence_s,
        drain_s=wanted.drain_s,
        is_alternate=wanted.is_alternate,
    )


def is_lowered(running: EnginePlan, wanted: EnginePlan) -> bool:
    """Whether the engine that runs may be the one that is wanted, started with less after its first tries failed."""
    ran, asked = running.shape, wanted.shape
    shape = replace(
        ran,
        context_tokens=max(ran.context_tokens, asked.context_tokens),
        max_num_seqs=max(ran.max_num_seqs, asked.max_num_seqs),
        max_num_batched_tokens=max(ran.max_num_batched_tokens, asked.max_num_batched_tokens),
        enforce_eager=ran.enforce_eager and asked.enforce_eager,
    )
    return is_same(replace(running, shape=shape), wanted)


def devices_of(plan: EnginePlan) -> tuple[str, ...]:
    """The UUIDs of its GPUs, or the one word for the processor."""
    return plan.gpu_uuids or (plan.device,)


def needs_of(plan: EnginePlan) -> dict[str, int]:
    """The bytes that it takes of each of its devices."""
    share = (plan.sum.total_bytes + plan.sum.headroom_bytes) * (1 if plan.gpu_uuids else plan.shape.tensor_parallel)
    return dict.fromkeys(devices_of(plan), share)


def due(
    replacing: Sequence[tuple[EnginePlan, EnginePlan]],
    starting: Sequence[EnginePlan],
    free_bytes: Mapping[str, int],
    moving: frozenset[str],
) -> Due:
    """Who of those that wait may begin. `replacing` are pairs, what runs and what is to take its place. `free_bytes`
    are those of each device that nobody has or is about to take; a device that is not named is unknown, and nothing
    fits beside another there. On `moving` devices an engine starts or ends, so that more may be free soon.

    One that fits begins at once. One that does not waits while something moves on its devices, or is about to. When
    nothing does, a replacement has what it replaces drained, and one that replaces nobody is started all the same: what
    it needs will not come by waiting, and its own start says best what is in the way.
    """
    free, busy = dict(free_bytes), set(moving)
    start: list[str] = []
    drain: list[str] = []
    for old, new in (*replacing, *((None, each) for each in starting)):
        needs = needs_of(new)
        if all(free.get(device, -1) >= count for device, count in needs.items()):
            start.append(new.name)
            free |= {device: free[device] - count for device, count in needs.items()}
        elif busy.isdisjoint(needs):
            (start if old is None else drain).append(new.name)
            free |= dict.fromkeys(needs, -1)
        busy.update(needs, devices_of(old) if old else ())
    return Due(tuple(start), tuple(drain))
