"""Models that need not be kept (`keep = false`) may take turns on the same memory, where not all fit at once. Pure.

Those that are kept have their place whoever else is awake. Of the others as many as fit stand beside them, in the order
wanted; each of the rest is an alternate, placed as if it were alone with those that are kept. So the plan is several
placements at once, which agree on where the kept ones are and what they take: the least that any of them gives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from engines.gpus.gpu import Gpu
from engines.memory.asleep import sleeping_bytes
from engines.placement.cpu import place_on_cpu
from engines.placement.place import Kept, Placed, Placement, Unplaced, engine_names, place
from engines.placement.room import foreign_bytes
from engines.placement.want import Rules, Want

VLLM = "vllm"
# Other places for those that are kept, tried where an alternate has none beside them.
MOST_ARRANGEMENTS = 3
# Until what sleepers hold is counted right; it mostly is at the second look.
MOST_ROUNDS = 4

Held = Mapping[str, int]
# Wants, what sleeping engines hold of each device, and where engines shall stay -> a placement.
Place = Callable[[Sequence[Want], Held, Sequence[Kept]], Placement]


def on_gpus(gpus: Sequence[Gpu], rules: Rules) -> Place:
    """Places on these GPUs."""

    def placed(wants: Sequence[Want], held: Held, kept: Sequence[Kept]) -> Placement:
        foreign = {gpu.uuid: foreign_bytes(gpu, rules) + held.get(gpu.uuid, 0) for gpu in gpus}
        return place(wants, gpus, replace(rules, foreign_bytes=foreign), kept)

    return placed


def on_cpu(cores: Sequence[int], host_bytes: int, rules: Rules) -> Place:
    """Places on these cores. What sleeps there holds nothing."""

    def placed(wants: Sequence[Want], _held: Held, _kept: Sequence[Kept]) -> Placement:
        return place_on_cpu(wants, cores, host_bytes, rules)

    return placed


@dataclass(frozen=True, slots=True)
class Sleeper:
    """Where an engine sleeps, and what it holds of each of these GPUs meanwhile."""

    gpu_uuids: tuple[str, ...]
    bytes: int


Sleepers = Mapping[str, Sleeper]


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which wants stand at once, and which engines (each by its name, as a want of one replica) take turns."""

    kept: tuple[Want, ...]
    at_once: tuple[Want, ...]
    rest: tuple[tuple[str, Want], ...]


@dataclass(frozen=True, slots=True)
class _Arranged:
    """The placement of those that stand at once, and for each alternate the one with it; None where it has no place."""

    choice: _Choice
    base: Placement
    turns: tuple[Placement | None, ...]

    @property
    def lost(self) -> int:
        return sum(turn is None for turn in self.turns)

    def every(self) -> tuple[Placed, ...]:
        """All engines that have a place."""
        return (*self.base.placed, *self.alternates())

    def where(self) -> dict[str, tuple[str, ...]]:
        return {each.name: each.gpu_uuids for each in self.every()}

    def alternates(self) -> Iterator[Placed]:
        for (name, want), turn in zip(self.choice.rest, self.turns, strict=True):
            if turn is not None:
                yield replace(_of(turn, want.name), name=name, is_alternate=True)


def take_turns(wants: Sequence[Want], placed: Place, kept: Sequence[Kept] = (), sleep_bytes: int = 0) -> Placement:
    """All at once where they fit, else with alternates, which come last. `sleep_bytes` of host memory may hold the
    weights of engines that sleep with their process alive. What has no place even alone has `needs` and `ways` only
    where the placing fills them in."""
    whole = placed(wants, {}, kept)
    always = tuple(want for want in wants if want.keep)
    if not whole.unplaced or len(always) == len(wants) or placed(always, {}, kept).unplaced:
        return whole
    found = _best(wants, placed, kept)
    names = _sleepers(found, wants, sleep_bytes)
    found, sleepers = _with_room_for(names, found, placed)
    engines = _settled(found, sleepers, placed)
    unplaced = (
        _unplaced(unit, always, placed)
        for unit, turn in zip(found.choice.rest, found.turns, strict=True)
        if turn is None
    )
    return Placement(tuple(replace(each, may_sleep=each.name in sleepers) for each in engines), tuple(unplaced))


def _best(wants: Sequence[Want], placed: Place, kept: Sequence[Kept]) -> _Arranged:
    """The arrangement in which the fewest have no place: with those that are kept where they come to stand at first,
    else where an alternate that has no place there would have them."""
    best = _arranged(_choice(wants, placed, kept), placed, kept, {})
    lost = [unit for unit, turn in zip(best.choice.rest, best.turns, strict=True) if turn is None]
    for _, want in lost[:MOST_ARRANGEMENTS]:
        other = placed((*best.choice.kept, want), {}, kept)
        if not other.unplaced:
            pins = _pins(other.placed)
            fixed = _pins(each for each in other.placed if each.want in {want.name for want in best.choice.kept})
            found = _arranged(_choice(wants, placed, pins, fixed), placed, pins, {})
            best = min(best, found, key=lambda each: each.lost)
    return best


def _choice(wants: Sequence[Want], placed: Place, kept: Sequence[Kept], fixed: Sequence[Kept] = ()) -> _Choice:
    """Those that are kept, and beside them as many replicas of each of the others, in their order, as fit and move none
    that is `fixed`."""
    always = tuple(want for want in wants if want.keep)
    at_once, rest = always, []
    for want in (each for each in wants if not each.keep):
        counts = range(want.replicas, 0, -1)
        fitting = (replace(want, replicas=count) for count in counts)
        tried = ((each, placed((*at_once, each), {}, kept)) for each in fitting)
        found = next((each for each, there in tried if not there.unplaced and _stay(fixed, there)), None)
        at_once = at_once if found is None else (*at_once, found)
        names = engine_names(want)[found.replicas if found else 0 :]
        rest += [(name, replace(want, replicas=1)) for name in names]
    return _Choice(always, at_once, tuple(rest))


def _arranged(choice: _Choice, placed: Place, kept: Sequence[Kept], sleepers: Sleepers) -> _Arranged:
    """`sleepers` are the engines that hold something while others have their turn."""
    base = placed(choice.at_once, _held(sleepers, _names(choice.at_once)), kept)
    pins = _pins(each for each in base.placed if each.want in {want.name for want in choice.kept})
    turns = []
    for name, want in choice.rest:
        mine = [replace(each, name=want.name) for each in kept if each.name == name]
        awake = {name, *_names(choice.kept)}
        turn = placed((*choice.kept, want), _held(sleepers, awake), (*pins, *mine))
        turns.append(turn if not turn.unplaced and _stay(pins, turn) else None)
    return _Arranged(choice, base, tuple(turns))


def _with_room_for(names: Collection[str], found: _Arranged, placed: Place) -> tuple[_Arranged, Sleepers]:
    """The same with room for what these engines hold while they sleep, and that; as it is, and nothing, where somebody
    would have to move for it. What they hold depends on their batches, and so on the room that they have."""
    pins = _pins(found.every())
    counted: Sleepers = {}
    again = found
    for _ in range(MOST_ROUNDS if names else 0):
        needed = {each.name: _asleep(each) for each in again.every() if each.name in names}
        if counted and all(each.bytes <= counted[name].bytes for name, each in needed.items()):
            return again, counted
        counted = {name: max(each, counted.get(name, each), key=lambda one: one.bytes) for name, each in needed.items()}
        again = _arranged(found.choice, placed, pins, counted)
        if again.base.unplaced or again.where() != found.where():
            break
    return found, {}


def _sleepers(found: _Arranged, wants: Sequence[Want], sleep_bytes: int) -> frozenset[str]:
    """The names of those that take turns on GPUs and can sleep there, while host memory lasts for their weights."""
    shared = {uuid for each in found.alternates() for uuid in each.gpu_uuids}
    may = {want.name for want in wants if not want.keep and want.engine == VLLM}
    sleepers: set[str] = set()
    for each in found.every():
        weights_bytes = each.footprint.weights_bytes * each.shape.tensor_parallel
        if each.want in may and each.gpu_uuids and shared.intersection(each.gpu_uuids) and weights_bytes <= sleep_bytes:
            sleepers.add(each.name)
            sleep_bytes -= weights_bytes
    return frozenset(sleepers)


def _asleep(each: Placed) -> Sleeper:
    return Sleeper(each.gpu_uuids, sleeping_bytes(each.footprint.outside_bytes, each.footprint.graph_bytes))


def _held(sleepers: Sleepers, awake: Iterable[str]) -> Counter[str]:
    """By device what the sleepers hold that are not awake."""
    held: Counter[str] = Counter()
    for name in sleepers.keys() - set(awake):
        held.update(dict.fromkeys(sleepers[name].gpu_uuids, sleepers[name].bytes))
    return held


def _settled(found: _Arranged, sleepers: Sleepers, placed: Place) -> tuple[Placed, ...]:
    """Every engine once: those that are kept with the least that any of the placements gives them, the others with what
    that leaves of the GPUs."""
    least = _least(found)
    loose = tuple((each.name, each) for each in found.base.placed if each.name not in least)
    wants = [want for want in found.choice.at_once if not want.keep]
    base = least | _grown(wants, loose, least, sleepers, placed)
    turns: dict[str, Placed] = {}
    for (name, want), turn in zip(found.choice.rest, found.turns, strict=True):
        if turn is not None:
            turns |= _grown([want], [(name, _named(turn, want.name))], least, sleepers, placed)
    alternates = (replace(each, name=name, is_alternate=True) for name, each in turns.items())
    return (*(base[each.name] for each in found.base.placed), *alternates)


def _least(found: _Arranged) -> dict[str, Placed]:
    every = [found.base, *(turn for turn in found.turns if turn is not None)]
    always = {want.name for want in found.choice.kept}
    return {
        name: min((_named(each, name) for each in every), key=lambda placed: placed.gpu_bytes)
        for name in (each.name for each in found.base.placed if each.want in always)
    }


def _grown(
    wants: Sequence[Want],
    now: Sequence[tuple[str, Placed]],
    least: Mapping[str, Placed],
    sleepers: Sleepers,
    placed: Place,
) -> dict[str, Placed]:
    """These engines (each by its name), where they are `now`, beside no more than the least of those that are kept. One
    that would then hold more while it sleeps than was counted stays as it is."""
    held = _held(sleepers, (*least, *(name for name, _ in now)))
    for each in least.values():
        held.update(dict.fromkeys(each.gpu_uuids, each.gpu_bytes + each.headroom_bytes))
    pins = _pins(each for _, each in now)
    alone = placed(wants, held, pins)
    if alone.unplaced or not _stay(pins, alone):
        return dict(now)
    larger = {name: _named(alone, each.name) for name, each in now}
    counts = {name: name not in sleepers or _asleep(larger[name]).bytes <= sleepers[name].bytes for name, _ in now}
    return larger if all(counts.values()) else dict(now)


def _unplaced(unit: tuple[str, Want], always: Sequence[Want], placed: Place) -> Unplaced:
    name, want = unit
    found = (each for each in placed((*always, want), {}, ()).unplaced if each.want == want.name)
    said = next(found, Unplaced(name, want.name, "", ()))
    return replace(said, name=name)


def _names(wants: Iterable[Want]) -> tuple[str, ...]:
    return tuple(name for want in wants for name in engine_names(want))


def _pins(engines: Iterable[Placed]) -> tuple[Kept, ...]:
    return tuple(Kept(each.name, each.gpu_uuids, each.shape.tensor_parallel, each.kv_bytes) for each in engines)


def _stay(pins: Iterable[Kept], found: Placement) -> bool:
    return all(_named(found, pin.name).gpu_uuids == pin.gpu_uuids for pin in pins)


def _named(found: Placement, name: str) -> Placed:
    return next(each for each in found.placed if each.name == name)


def _of(found: Placement, want: str) -> Placed:
    return next(each for each in found.placed if each.want == want)
