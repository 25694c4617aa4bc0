"""What runs goes on as it is, as long as all that is wanted has room beside it. Pure.

A placement made afresh gives every byte that is left over to KV caches, so whatever changes on a GPU changes the share
of every engine there, and each of them would have to start anew. While engines run, that costs more than it gains: they
keep their shares, and give some up only where something new would else have no place, as few of them as possible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from engines.gpus.gpu import Gpu
from engines.memory.asleep import sleeping_bytes
from engines.memory.shape import Shape
from engines.placement.bounds import batches, queue_limit
from engines.placement.place import Kept, Placed, Placement, engine_names
from engines.placement.room import STEPS, rooms, share_bytes
from engines.placement.shapes import OLLAMA, Cut, cut_of, cuts_on
from engines.placement.turns import on_gpus
from engines.placement.want import Rules, Want

# How many of those that run may have to start anew before all are placed afresh, and how many are looked at for that.
MOST_FREED = 2
MOST_LOOKED_AT = 8


@dataclass(frozen=True, slots=True)
class Ran:
    """One engine as it was planned; those that take turns may be asleep now."""

    name: str
    gpu_uuids: tuple[str, ...]
    shape: Shape
    utilization: float | None
    is_alternate: bool = False
    may_sleep: bool = False


def steady(
    found: Placement,
    wants: Sequence[Want],
    gpus: Sequence[Gpu],
    rules: Rules,
    ran: Sequence[Ran],
    kept: Sequence[Kept] = (),
) -> Placement:
    """`found`, or one in which as many of `ran` as possible go on as they are. Where engines take turns, either all of
    them go on or none."""
    if found.unplaced:
        return found
    wanted = {name: want for want in wants for name in engine_names(want)}
    runs = {each.name: each for each in ran}
    able = {
        name: on for name, want in wanted.items() if name in runs and (on := _as_it_runs(want, runs[name], gpus, rules))
    }
    if any(each.is_alternate for each in (*found.placed, *able.values())):
        goes_on = able.keys() == wanted.keys() and _fit_in_turn(tuple(able.values()), wanted, gpus, rules)
        return Placement(tuple(sorted(able.values(), key=lambda each: each.is_alternate))) if goes_on else found
    for freed in _freed(able):
        stay = {name: each for name, each in able.items() if name not in freed}
        others = {name: want for name, want in wanted.items() if name not in stay}
        if stay and (beside := _beside(stay, others, gpus, rules, kept)) is not None:
            return Placement(tuple((stay | beside)[each.name] for each in found.placed))
    return found


def _freed(able: Mapping[str, Placed]) -> Iterator[tuple[str, ...]]:
    """None, one, or two of them, those with the largest pools first: they have most to give."""
    names = sorted(able, key=lambda name: (-able[name].kv_bytes, name))[:MOST_LOOKED_AT]
    for count in range(MOST_FREED + 1):
        yield from combinations(names, count)


def _as_it_runs(want: Want, ran: Ran, gpus: Sequence[Gpu], rules: Rules) -> Placed | None:
    """None for one that is wanted otherwise now, whose GPUs may not be used any more, or whose pool has become too
    small for the promise."""
    members = [gpu for gpu in gpus if gpu.uuid in ran.gpu_uuids]
    size, shape = len(ran.gpu_uuids), ran.shape
    batch = shape.max_num_batched_tokens, shape.max_num_seqs
    if not members or len(members) != size:
        return None
    if want.engine == OLLAMA:
        cuts = cuts_on(want, size, members, rules)
        if isinstance(cuts, str) or cuts[0].shape != shape:
            return None
        # Asleep it holds nothing, so nothing need be counted for it.
        return _placed(replace(ran, may_sleep=False), want, cuts[0], cuts[0].promised_bytes)
    smallest = min(members, key=lambda gpu: gpu.cuda_bytes)
    is_allowed = want.tensor_parallel in (None, size) and batch in batches(want, smallest, size)
    if ran.utilization is None or not is_allowed or want.shape(size, *batch) != shape:
        return None
    cut = cut_of(want, shape, members, smallest, rules)
    pool_bytes = share_bytes(round(ran.utilization * STEPS), cut.least_cuda_bytes) - cut.footprint.inside_bytes
    if pool_bytes < cut.promised_bytes:
        return None
    return _placed(ran, want, cut, pool_bytes if cut.grows else cut.promised_bytes)


def _placed(ran: Ran, want: Want, cut: Cut, pool_bytes: int) -> Placed:
    return Placed(
        name=ran.name,
        want=want.name,
        gpu_uuids=ran.gpu_uuids,
        shape=ran.shape,
        footprint=cut.footprint,
        kv_bytes=pool_bytes,
        utilization=ran.utilization,
        max_num_queued_reqs=queue_limit(ran.shape.max_num_seqs),
        headroom_bytes=cut.headroom_bytes,
        is_alternate=ran.is_alternate,
        may_sleep=ran.may_sleep,
    )


def _fit_in_turn(placed: Sequence[Placed], wanted: Mapping[str, Want], gpus: Sequence[Gpu], rules: Rules) -> bool:
    """Whether those that start awake fit at once, and each alternate beside those that are kept; with what the others
    hold while they sleep."""
    at_once = {each.name for each in placed if not each.is_alternate}
    always = {each.name for each in placed if wanted[each.name].keep}
    choices = [at_once, *({each.name, *always} for each in placed if each.is_alternate)]
    room = {each.gpu.uuid: each.free_bytes for each in rooms(gpus, rules)}
    return always <= at_once and all(_taken(placed, awake) <= Counter(room) for awake in choices)


def _taken(placed: Sequence[Placed], awake: Collection[str]) -> Counter[str]:
    taken: Counter[str] = Counter()
    for each in placed:
        footprint = each.footprint
        asleep = sleeping_bytes(footprint.outside_bytes, footprint.graph_bytes) if each.may_sleep else 0
        held = each.gpu_bytes + each.headroom_bytes if each.name in awake else asleep
        taken.update(dict.fromkeys(each.gpu_uuids, held))
    return taken


def _beside(
    stay: Mapping[str, Placed], others: Mapping[str, Want], gpus: Sequence[Gpu], rules: Rules, kept: Sequence[Kept]
) -> dict[str, Placed] | None:
    """The others, all of them, in what these leave; None where they have no room, or these have none any more."""
    held: Counter[str] = Counter()
    for each in stay.values():
        held.update(dict.fromkeys(each.gpu_uuids, each.gpu_bytes + each.headroom_bytes))
    if any(held[room.gpu.uuid] > room.free_bytes for room in rooms(gpus, rules)):
        return None
    # Each replica by its own name: those of the same model that stay are not placed.
    wants = [replace(want, name=name, replicas=1) for name, want in others.items()]
    found = on_gpus(gpus, rules)(wants, held, kept)
    return None if found.unplaced else {each.name: replace(each, want=others[each.name].name) for each in found.placed}
