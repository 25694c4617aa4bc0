"""Wanted models onto GPUs. Pure and deterministic: the same wants, GPUs and history give the same placement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engines.gpus.gpu import Gpu
from engines.memory.footprint import Footprint
from engines.memory.shape import Shape
from engines.placement.bounds import queue_limit
from engines.placement.fill import filled
from engines.placement.room import rooms
from engines.placement.seated import seated
from engines.placement.seats import Seat
from engines.placement.spots import Ground, Spot, Spots
from engines.placement.want import Rules, Want


@dataclass(frozen=True, slots=True)
class Placed:
    """One engine on its GPUs. `name` is the want's name, `-2`, `-3` ... appended for further replicas.

    `kv_bytes` is the pool on each GPU. `utilization` is a fraction of `Gpu.cuda_bytes`, None for Ollama. Beside it
    `headroom_bytes` must be free when it starts. `is_alternate`: others have its GPUs first, and it takes turns with
    them; `may_sleep`: what it still holds while it sleeps there is counted.
    """

    name: str
    want: str
    gpu_uuids: tuple[str, ...]
    shape: Shape
    footprint: Footprint
    kv_bytes: int
    utilization: float | None
    max_num_queued_reqs: int
    headroom_bytes: int = 0
    is_alternate: bool = False
    may_sleep: bool = False

    @property
    def gpu_bytes(self) -> int:
        """All that it takes of each of its GPUs."""
        return self.footprint.inside_bytes + self.footprint.outside_bytes + self.kv_bytes


@dataclass(frozen=True, slots=True)
class Unplaced:
    """One engine that has no place. `needs` is the sum as a sentence, `ways` are changes that would make it fit."""

    name: str
    want: str
    needs: str
    ways: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """`unplaced` empty means that all of it can start."""

    placed: tuple[Placed, ...]
    unplaced: tuple[Unplaced, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """An engine of the plan before: it stays where it is, if it still fits there. `kv_bytes`: the pool that it had on
    each GPU, by which an engine whose promise has grown is told from the others, if something must move."""

    name: str
    gpu_uuids: tuple[str, ...]
    tensor_parallel: int
    kv_bytes: int | None = None


def place(wants: Sequence[Want], gpus: Sequence[Gpu], rules: Rules, kept: Sequence[Kept] = ()) -> Placement:
    """Every replica of every want on GPUs, all memory that is left over given to KV cache where the load is.

    In this order: as many engines as possible have a place; those earlier in `wants` before later ones; as few of
    `kept` move as possible; as few GPUs in tensor-parallel groups as possible; replicas of one want on different GPUs;
    groups within one island; and the most KV cache (`fill.Filled.goodness`). All of it holds in whatever order the
    engines start, since what each takes is counted whole. An engine without a place has `needs` filled only where
    memory is not the reason; the sum of what is missing is for `remedies`.
    """
    ground = Ground(rooms(gpus, rules), rules)
    spots = {want.name: Spots(want, ground) for want in wants}
    before = {each.name: each for each in kept if each.gpu_uuids}
    engines = [(name, want) for want in wants for name in engine_names(want)]
    seats = [_seat(spots[want.name], want, before.get(name)) for name, want in engines]
    chosen = seated(seats, ground).spots
    at = [(name, want, spot) for (name, want), spot in zip(engines, chosen, strict=True) if spot is not None]
    left_out = [(name, want) for (name, want), spot in zip(engines, chosen, strict=True) if spot is None]
    unplaced = (Unplaced(name, want.name, spots[want.name].refusal, ()) for name, want in left_out)
    return Placement(_placed(at, ground), tuple(unplaced))


def engine_names(want: Want) -> tuple[str, ...]:
    """One for each replica."""
    return (want.name, *(f"{want.name}-{number}" for number in range(2, want.replicas + 1)))


def _seat(spots: Spots, want: Want, kept: Kept | None) -> Seat:
    before = None if kept is None else spots.before(kept.gpu_uuids, kept.tensor_parallel)
    strain = before.leanest.promised_bytes / kept.kv_bytes if before and kept and kept.kv_bytes else 0.0
    return Seat(want.name, spots, before, strain)


def _placed(at: Sequence[tuple[str, Want, Spot]], ground: Ground) -> tuple[Placed, ...]:
    found = filled([spot for _, _, spot in at], [room.free_bytes for room in ground.rooms])
    return tuple(
        Placed(
            name=name,
            want=want.name,
            gpu_uuids=tuple(ground.gpus[gpu].uuid for gpu in spot.gpus),
            shape=cut.shape,
            footprint=cut.footprint,
            kv_bytes=kv_bytes,
            utilization=utilization,
            max_num_queued_reqs=queue_limit(cut.shape.max_num_seqs),
            headroom_bytes=cut.headroom_bytes,
        )
        for (name, want, spot), cut, pool in zip(at, found.cuts, found.pools, strict=True)
        for kv_bytes, utilization in (cut.settled(pool),)
    )
