"""Which engines rest and which wake, where more models are wanted than fit at once. Pure; times are passed in.

Asked at every tick, it names the moves that may begin now; the crew carries them out and asks again. Every rule holds
at every tick, so nothing need be remembered between two of them:

- Nobody rests but for one that is wanted, asleep, and served by it: what is idle stays as long as there is room.
- The longest asleep of the wanted goes first. While it waits for others to become free to rest, nobody rests for the
  younger ones there: else two small models that take turns could keep a large one out for good.
- Of those that may rest, as few as possible do, and of equally few the ones that were used longest ago.
- Whoever has woken stays for its `min_residence_s`, so that two models wanted in turn change places no oftener. One
  that is busy is left alone for longer, but not for ever: resting drains it, and others are waiting.
- One move at a time on each device, since what a move frees or takes is only sure when it is over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from engines.memory.asleep import sleeping_bytes
from engines.plan import CPU, EnginePlan

# A model under steady load is never idle. It gives way to one that waits after so many times its own residence, and
# never before a whole minute.
BUSY_RESIDENCES = 5
LEAST_BUSY_S = 60.0
# Of so many that may rest all choices are looked at; of more, those used longest ago.
MOST_CHOICES = 12

VLLM = "vllm"
Bytes = Mapping[str, int]


class Residence(StrEnum):
    """`moving`: on the way from one to the other, or about to take its memory again by itself."""

    AWAKE = "awake"
    ASLEEP = "asleep"
    MOVING = "moving"


@dataclass(frozen=True, slots=True)
class Resident:
    """One engine with what it holds by device while awake (`needs`) and while asleep (`rests`).

    `since_s`: for how long it has been in this state; `idle_s`: for how long it has had no request; `wanted`: requests
    that wait for it, or had to go elsewhere, since it fell asleep.
    """

    name: str
    state: Residence
    keep: bool
    needs: Bytes
    rests: Bytes
    since_s: float
    idle_s: float
    wanted: int
    is_busy: bool
    min_residence_s: float

    @property
    def held(self) -> Bytes:
        """What must be counted as taken: on the move, the most that it may hold."""
        if self.state is Residence.ASLEEP:
            return self.rests
        if self.state is Residence.AWAKE:
            return self.needs
        return {device: max(self.needs.get(device, 0), self.rests.get(device, 0)) for device in self.devices}

    @property
    def devices(self) -> frozenset[str]:
        return frozenset(self.needs) | frozenset(self.rests)

    @property
    def may_rest(self) -> bool:
        """Whether it has had its time, for the sake of another."""
        if self.keep or self.state is not Residence.AWAKE or self.since_s < self.min_residence_s:
            return False
        return not self.is_busy or self.since_s >= max(LEAST_BUSY_S, BUSY_RESIDENCES * self.min_residence_s)


@dataclass(frozen=True, slots=True)
class Moves:
    """Names of those that shall begin to rest, and to wake, now."""

    rest: tuple[str, ...] = ()
    wake: tuple[str, ...] = ()


def moves(residents: Sequence[Resident], rooms: Bytes) -> Moves:
    """What shall begin now. `rooms` are the bytes of each device that all residents may take together; a device that is
    not in it has none."""
    turn = _Turn(residents, rooms)
    wanted = [each for each in residents if each.state is Residence.ASLEEP and each.wanted > 0]
    for each in sorted(wanted, key=lambda one: (-one.since_s, one.name)):
        turn.serve(each)
    return Moves(tuple(turn.rest), tuple(turn.wake))


class _Turn:
    """One tick: what is decided of it so far."""

    def __init__(self, residents: Sequence[Resident], rooms: Bytes) -> None:
        self.rest: list[str] = []
        self.wake: list[str] = []
        self._residents = residents
        self._rooms = rooms
        self._held = _summed(each.held for each in residents)
        self._moving = {device for each in residents if each.state is Residence.MOVING for device in each.devices}
        self._claimed: set[str] = set()

    def serve(self, wanted: Resident) -> None:
        """Wake it if there is room; else let others rest for it, now or, where they may not yet, before anybody rests
        for those that come after it."""
        short = self._short(wanted, ())
        if not short:
            if not self._moving & wanted.devices:
                self.wake.append(wanted.name)
            # Even where it must wait for a move to end, its room is not for those that come after it.
            self._moving |= wanted.devices
            self._held.update(_risen(wanted))
            return
        if self._short(wanted, [each for each in self._residents if self._could_ever_rest(each)]):
            return
        is_claimed = bool(self._claimed & wanted.devices)
        self._claimed |= wanted.devices
        if is_claimed:
            return
        for each in self._fewest(wanted, short):
            if not self._moving & each.devices:
                self.rest.append(each.name)
                self._moving |= each.devices
        if not self._short(wanted, [each for each in self._residents if self._is_leaving(each)]):
            # Its room is being made: who woke into it meanwhile would have to leave again, and so on for ever.
            self._held.update(_risen(wanted))

    def _could_ever_rest(self, each: Resident) -> bool:
        return not each.keep and each.state is not Residence.ASLEEP

    def _is_leaving(self, each: Resident) -> bool:
        """Whether it may rest now, or is perhaps on its way: a move does not tell where it leads."""
        return each.may_rest or (not each.keep and each.state is Residence.MOVING)

    def _short(self, wanted: Resident, resting: Iterable[Resident]) -> set[str]:
        """The devices without room for it, even were these at rest."""
        freed = _summed(_freed(each) for each in resting)
        return {
            device
            for device, more in _risen(wanted).items()
            if more > 0 and self._held[device] - freed[device] + more > self._rooms.get(device, 0)
        }

    def _fewest(self, wanted: Resident, short: set[str]) -> Sequence[Resident]:
        """The fewest that make room for it by resting; none where that does not help."""
        able = [each for each in self._residents if each.may_rest and any(_freed(each).get(d, 0) > 0 for d in short)]
        able = sorted(able, key=lambda each: (-each.idle_s, each.name))[:MOST_CHOICES]
        if self._short(wanted, able):
            return ()
        return next(choice for choice in _choices(able) if not self._short(wanted, choice))


def _choices(able: Sequence[Resident]) -> Iterator[tuple[Resident, ...]]:
    """Smallest first, and of the same size those used longest ago first."""
    for count in range(1, len(able) + 1):
        yield from combinations(able, count)


def _risen(each: Resident) -> Bytes:
    """By device what it takes when it wakes."""
    return {device: each.needs.get(device, 0) - each.rests.get(device, 0) for device in each.devices}


def _freed(each: Resident) -> Bytes:
    """By device what it gives up when it goes to rest."""
    return {device: held - each.rests.get(device, 0) for device, held in each.held.items()}


def _summed(all_bytes: Iterable[Bytes]) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in all_bytes:
        total.update(each)
    return total


def resident_needs(plan: EnginePlan) -> tuple[dict[str, int], dict[str, int]]:
    """What the engine holds by device ("cpu", or the UUID of a GPU) while awake, and while asleep: nothing, unless its
    process stays."""
    of = plan.sum
    needed = of.total_bytes + of.headroom_bytes
    if not plan.gpu_uuids:
        return {CPU: needed * plan.shape.tensor_parallel}, {}
    # Ollama, asleep, has unloaded its model and ended the program that held it.
    stays = sleeping_bytes(of.outside_bytes, of.graph_bytes) if plan.may_sleep and plan.kind == VLLM else 0
    return dict.fromkeys(plan.gpu_uuids, needed), dict.fromkeys(plan.gpu_uuids, stays) if stays else {}


def rooms_of(engines: Sequence[EnginePlan]) -> dict[str, int]:
    """By device what the engines of a plan may take together: the plan has counted those that start awake as one
    choice, and each alternate beside those that are kept as another, all with the rest of them asleep."""
    choices = [[each.name for each in engines if not each.is_alternate]]
    choices += [[each.name, *(one.name for one in engines if one.keep)] for each in engines if each.is_alternate]
    held = [_summed(_held_of(each, each.name in awake) for each in engines) for awake in choices]
    return {device: max(sums[device] for sums in held) for device in _summed(held)}


def first_awake(engines: Sequence[EnginePlan], found: Iterable[str] = ()) -> frozenset[str]:
    """The names of those that start awake. `found` run already, of an earlier supervisor, and stay so; the others
    follow in the order of the plan as long as there is room beside them, alternates last."""
    rooms, awake = rooms_of(engines), set(found)
    for each in sorted(engines, key=lambda one: (not one.keep, one.is_alternate)):
        held = _summed(_held_of(one, one.name in awake or one is each) for one in engines)
        fits = all(held[device] <= rooms[device] for device in resident_needs(each)[0])
        if each.keep or (fits and not each.is_alternate):
            awake.add(each.name)
    return frozenset(awake)


def _held_of(plan: EnginePlan, is_awake: bool) -> Bytes:
    needs, rests = resident_needs(plan)
    return needs if is_awake else rests
