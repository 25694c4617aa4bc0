"""What an engine without a place needs, as a sum, against what is there. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engines.gpus.gpu import Gpu
from engines.placement.place import Placement, engine_names
from engines.placement.room import Room, foreign_bytes, rooms
from engines.placement.shapes import Cut, promised_bytes
from engines.placement.spots import Ground, Spot, Spots
from engines.placement.want import Rules, Want

GIB = 2**30
# More than any GPU has: what an engine needs is asked of GPUs that are never full.
ENDLESS_BYTES = 2**60
# Others that hold less than this are not worth a word.
WORTH_A_WORD_BYTES = GIB
# Utilization has four decimals: what an engine takes is rounded up by at most a ten-thousandth, here of 320 GiB.
STEP_BYTES = 2**25
FEW = 8


@dataclass(frozen=True, slots=True)
class Hardware:
    """The GPUs with what is free to give on each: of the empty card, and beside the least of what is placed."""

    gpus: Sequence[Gpu]
    empty_bytes: Sequence[int]
    left_bytes: Sequence[int]
    beside: Sequence[tuple[str, ...]]

    def of(self, gpus: Sequence[Gpu]) -> Hardware:
        """Of these GPUs only."""
        at = [self.gpus.index(gpu) for gpu in gpus]
        empty, left = [self.empty_bytes[number] for number in at], [self.left_bytes[number] for number in at]
        return Hardware(gpus, empty, left, [self.beside[number] for number in at])


def roomiest(
    gpus: Sequence[Gpu], rules: Rules, wants: Sequence[Want], free_bytes: Sequence[int] | None = None
) -> tuple[Gpu, ...]:
    """The GPUs with the most room, in their order: enough of them for these wants, so that hundreds of groups of
    sixteen need not be looked at."""
    free = free_bytes or [room.free_bytes for room in rooms(gpus, rules)]
    most = max(FEW, sum(want.replicas * (want.tensor_parallel or 1) for want in wants))
    chosen = sorted(range(len(gpus)), key=lambda number: -free[number])[:most]
    return tuple(gpus[number] for number in sorted(chosen))


def fit_one_by_one(wants: Sequence[Want], space: Sequence[Room], rules: Rules) -> bool:
    """Whether all replicas find room one after the other, each on the fewest GPUs and there where it leaves least."""
    left = [room.free_bytes for room in space]
    for want in wants:
        spots = list(Spots(want, Ground(space, rules)).every())
        for _ in range(want.replicas):
            fit = [spot for spot in spots if _missing(spot, left) <= 0]
            if not fit:
                return False
            best = min(fit, key=lambda spot: (len(spot.gpus), sum(left[gpu] for gpu in spot.gpus)))
            for gpu in best.gpus:
                left[gpu] -= best.floor_bytes
    return True


def hardware(placement: Placement, wants: Sequence[Want], gpus: Sequence[Gpu], rules: Rules) -> Hardware:
    """What is left counts each placed engine with the KV cache that it promised, not with the one it grew to."""
    empty = [room.free_bytes for room in rooms(gpus, rules)]
    taken = taken_bytes(placement, {want.name: want for want in wants})
    beside: dict[str, list[str]] = {gpu.uuid: [] for gpu in gpus}
    for engine in placement.placed:
        for uuid in engine.gpu_uuids:
            beside[uuid].append(engine.name)
    left = [max(0, free - taken.get(gpu.uuid, 0)) for gpu, free in zip(gpus, empty, strict=True)]
    return Hardware(gpus, empty, left, [tuple(beside[gpu.uuid]) for gpu in gpus])


def taken_bytes(placement: Placement, wants: Mapping[str, Want]) -> dict[str, int]:
    """By UUID what the engines of these wants take at least: with the pool that their want promises."""
    taken: dict[str, int] = {}
    for engine in placement.placed:
        if engine.want in wants:
            promised = promised_bytes(wants[engine.want], engine.footprint.kv)
            least = engine.footprint.inside_bytes + engine.footprint.outside_bytes + promised + engine.headroom_bytes
            for uuid in engine.gpu_uuids:
                taken[uuid] = taken.get(uuid, 0) + least + STEP_BYTES
    return taken


def needs_of(want: Want, there: Hardware, rules: Rules) -> str:
    """Why one engine of this want has no place. Of all shapes the one that comes nearest to fitting is shown."""
    gpus = roomiest(there.gpus, rules, [want], there.left_bytes)
    spots = _spots(want, gpus, rules)
    found = list(spots.every())
    if not found:
        return f"cannot run here: {spots.refusal.rstrip('.')}"
    there = there.of(gpus)
    alone = min(found, key=lambda spot: (_missing(spot, there.empty_bytes), len(spot.gpus)))
    if _missing(alone, there.empty_bytes) > 0:
        return f"{sum_words(alone.leanest, len(alone.gpus))}; {_there(alone, there, rules)}"
    fitting = [spot for spot in found if _missing(spot, there.empty_bytes) <= 0]
    spot = min(fitting, key=lambda spot: (len(spot.gpus), _missing(spot, there.left_bytes)))
    full = min(spot.gpus, key=lambda gpu: there.left_bytes[gpu])
    left = f"{gib(there.left_bytes[full])} GiB left"
    beside = f" beside {_listed(there.beside[full])}" if there.beside[full] else ""
    return f"{sum_words(spot.leanest, len(spot.gpus))}; {gib(there.empty_bytes[full])} GiB there, {left}{beside}"


def least_bytes(want: Want, gpus: Sequence[Gpu], rules: Rules) -> int | None:
    """The fewest bytes, over all its GPUs, that one engine of this want takes; None if it cannot run on them."""
    spots = _spots(want, roomiest(gpus, rules, [want]), rules).every()
    return min((spot.floor_bytes * len(spot.gpus) for spot in spots), default=None)


def together_words(wants: Sequence[Want], there: Hardware, rules: Rules) -> str:
    """That all wants are more than all GPUs hold, if it is so; else nothing."""
    least: Mapping[str, int] = {want.name: least_bytes(want, there.gpus, rules) or 0 for want in wants}
    asked = 0 if len(wants) == 1 else sum(least[want.name] * len(engine_names(want)) for want in wants)
    if asked <= sum(there.empty_bytes):
        return ""
    return f"; all models together need {gib(asked)} GiB and all GPUs have {gib(sum(there.empty_bytes))} GiB"


def sum_words(cut: Cut, gpus: int) -> str:
    """`needs 141.1 GiB = weights 131.5 + KV 6.0 + overhead 3.6`: the figures shown add up."""
    total, weights, kv = (
        round(size / GIB, 1) for size in (cut.floor_bytes, cut.footprint.weights_bytes, cut.promised_bytes)
    )
    where = f" on each of {gpus} GPUs" if gpus > 1 else ""
    headroom = round(cut.headroom_bytes / GIB, 1)
    free = f" + {headroom:.1f} that Ollama wants free" if headroom else ""
    overhead = f"{total - weights - kv - headroom:.1f}"
    return f"needs {total:.1f} GiB{where} = weights {weights:.1f} + KV {kv:.1f} + overhead {overhead}{free}"


def gib(size: int) -> str:
    return f"{size / GIB:.1f}"


def _spots(want: Want, gpus: Sequence[Gpu], rules: Rules) -> Spots:
    return Spots(want, Ground([Room(gpu, ENDLESS_BYTES) for gpu in gpus], rules))


def _missing(spot: Spot, free_bytes: Sequence[int]) -> int:
    return spot.floor_bytes - min(free_bytes[gpu] for gpu in spot.gpus)


def _there(spot: Spot, there: Hardware, rules: Rules) -> str:
    """What the fullest of these GPUs can give, and who holds the rest of it."""
    full = min(spot.gpus, key=lambda gpu: there.empty_bytes[gpu])
    others = foreign_bytes(there.gpus[full], rules)
    held = f" (other processes hold {gib(others)})" if others >= WORTH_A_WORD_BYTES else ""
    return f"{gib(there.empty_bytes[full])} GiB there{held}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
