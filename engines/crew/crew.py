"""All engines of one supervisor: who runs, who comes, who leaves, under which name, and whose turn it is.

Asked at every tick for the next steps from what runs to what is wanted; `engines.life.change` says which those are.
The single writer of what engine bears which name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

from engines.crew.member import Make, Member, placeholder
from engines.crew.place import Place, free_name
from engines.crew.proven import Proven
from engines.crew.rota import Rota
from engines.life import note
from engines.life.change import Due, devices_of, due, is_lowered, is_same, needs_of, with_wishes_of
from engines.life.residency import first_awake
from engines.plan import EnginePlan
from engines.processes.record import Record
from engines.snapshot import EngineState, EngineUse, EngineView

HOPELESS_STARTS = 3


@dataclass(frozen=True, slots=True)
class Doors:
    """What a crew is given: how engines are made and what is said of them; the bytes of each device that nobody has;
    what routers have at a URL; the record of an instance whose process runs."""

    make: Make
    say: Callable[[str], None]
    free_bytes: Callable[[], Mapping[str, int]]
    use: Callable[[str], EngineUse]
    record: Callable[[str], Record | None]


class Crew:
    """Tell it what is `wanted`, then `tick` it."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._wanted: tuple[EnginePlan, ...] = ()
        self._places: dict[str, Place] = {}
        self._leaving: list[Member] = []
        self._rota = Rota(doors.use)
        self._proven = Proven()
        self._awake: frozenset[str] = frozenset()

    def adopt(self, records: Iterable[Record], wanted: Sequence[EnginePlan]) -> tuple[Record, ...]:
        """Take over what an earlier supervisor left running. The records of processes that are no engines are given
        back."""
        strange = []
        for record in records:
            if (found := note.read(record.note)) is None:
                strange.append(record)
                continue
            planned = next((each for each in wanted if each.name == found.plan.name), found.plan)
            is_wanted = is_same(found.plan, planned) or (bool(found.because) and is_lowered(found.plan, planned))
            member = self._member(planned if is_wanted else found.plan, found.instance)
            member.begin(record)
            self._seat(member, is_wanted)
        return tuple(strange)

    def _seat(self, member: Member, is_wanted: bool) -> None:
        """One that is wanted takes the name over from one that is not, as it was about to."""
        place = self._places.setdefault(member.plan.name, Place())
        if place.current is None:
            place.current = member
        elif place.coming is None:
            place.current, place.coming = (place.current, member) if is_wanted else (member, place.current)
        else:
            self._dismiss(member)

    def want(self, plans: Sequence[EnginePlan], again: bool = False) -> None:
        """From now on these. What was rejected is tried anew if it is wanted differently, or, like what has given up,
        if it is wanted `again`."""
        self._wanted = tuple(plans)
        self._proven.ask(plans, again)
        for member in self._members() if again else ():
            member.try_again()
        found = [
            name
            for name, place in self._places.items()
            if place.current and place.current.state is not EngineState.SLEEPING
        ]
        self._awake = first_awake(plans, found)

    def tick(self, wanted: Mapping[str, int], now_s: float) -> None:
        """The next steps. `wanted` are the requests by model that found it asleep, since the last tick."""
        self._forget()
        plans = self._plans()
        names = {each.name for each in plans}
        for name in [name for name in self._places if name not in names]:
            self._clear(name)
        for plan in plans:
            self._settle(self._places.setdefault(plan.name, Place()), plan)
        self._begin(plans)
        current = [place.current for place in self._places.values() if place.current and not place.coming]
        moves = self._rota.moves(current, wanted, now_s)
        for member in current:
            if member.plan.name in moves.rest:
                member.rest()
            elif member.plan.name in moves.wake:
                member.wake()

    def views(self) -> tuple[EngineView, ...]:
        """Every engine under a name of its own: `NAME~2` is to take NAME over, `NAME~old` had it before."""
        found = []
        plans = {plan.name: plan for plan in self._plans()}
        for name in dict.fromkeys([*plans, *self._places]):
            place = self._places.get(name, Place())
            if place.current:
                found.append(replace(place.current.view(), name=name))
            elif name in plans:
                found.append(placeholder(plans[name], EngineState.PLANNED))
            if place.coming:
                found.append(replace(place.coming.view(), name=f"{name}~2"))
        taken = {view.name for view in found}
        for member in self._leaving:
            name = free_name(member.plan.name, taken)
            taken.add(name)
            found.append(replace(member.view(), name=name))
        return tuple(found)

    @property
    def refused(self) -> str:
        """Which changes do not run though they were planned, and why; "" if all do."""
        return self._proven.refused

    @property
    def busy(self) -> str:
        """What change is under way, "" if none."""
        coming = [f"starting another {name}" for name, place in self._places.items() if place.coming]
        waiting = [f"{name} waits for room" for name, place in self._places.items() if not any(place.members())]
        changed = [f"ending the {each.plan.name} from before" for each in self._leaving]
        return ", ".join([*coming, *waiting, *changed])

    def is_coming(self, name: str) -> bool:
        """Whether another engine of this name is on its way."""
        return name in self._places and self._places[name].is_awaited

    def quarantine(self, closed: Mapping[str, str]) -> None:
        """End what runs on these GPUs (UUID and why), and start what may run again."""
        for member in self._members():
            why = next((f"GPU {uuid} {closed[uuid]}" for uuid in member.plan.gpu_uuids if uuid in closed), "")
            member.quarantine(why)

    def dismiss(self) -> None:
        """Everybody ends. A second call ends the patience."""
        self._wanted = ()
        for member in [*self._members(), *self._leaving]:
            member.leave()
        self._leaving += self._members()
        self._places = {}

    async def gone(self) -> None:
        """Blocks until all that were dismissed are gone."""
        await asyncio.gather(*(member.gone() for member in self._leaving))

    def _members(self) -> list[Member]:
        return [member for place in self._places.values() for member in place.members()]

    def _plans(self) -> list[EnginePlan]:
        """What shall run: what is wanted, or what served before where that does not start."""
        return [self._proven.instead_of(each) for each in self._wanted]

    def _forget(self) -> None:
        self._leaving = [each for each in self._leaving if not each.is_gone]
        for place in self._places.values():
            place.current = None if place.current and place.current.is_gone else place.current
            place.coming = None if place.coming and place.coming.is_gone else place.coming

    def _clear(self, name: str) -> None:
        """Nobody shall bear this name. One that is still being recognised is drained after that."""
        place = self._places[name]
        if not any(member.is_arriving for member in place.members()):
            del self._places[name]
            for member in place.members():
                self._dismiss(member)

    def _settle(self, place: Place, plan: EnginePlan) -> None:
        """Who of one name must go, and who bears the name now."""
        current, coming = place.current, place.coming
        is_in_vain = coming and (not is_same(coming.plan, plan) or (current and is_same(current.plan, plan)))
        if coming and is_in_vain and not coming.is_arriving:
            self._dismiss(coming)
            coming = None
        is_useless = current and not current.is_ready and not current.is_arriving
        if current and not is_same(current.plan, plan) and (is_useless or (coming and coming.is_ready)):
            self._dismiss(current)
            current = None
        if current is None:
            current, coming = coming, None
        place.current, place.coming = current, coming
        self._prove(place, plan)

    def _prove(self, place: Place, plan: EnginePlan) -> None:
        """Note what serves; reject what does not start, where something from before can serve instead."""
        current, coming = place.current, place.coming
        if current and coming and (why := _hopeless(coming)):
            self._proven.runs(current.plan)
            self._reject(coming, why)
            self._dismiss(coming)
            place.coming = None
        if current is None:
            return
        if is_same(current.plan, plan):
            current.plan = with_wishes_of(current.plan, plan)
        if current.is_ready:
            self._proven.serves(current.plan)
        elif not current.has_served and self._proven.before(current.plan) and (why := _hopeless(current)):
            self._reject(current, why)

    def _reject(self, member: Member, why: str) -> None:
        words = f"engine {member.plan.name} does not start as it is wanted now, so the one from before goes on: {why}"
        self._proven.reject(member.plan, words)
        self._doors.say(words)

    def _begin(self, plans: Sequence[EnginePlan]) -> None:
        """Start and drain what is due."""
        by_name = {each.name: each for each in plans}
        replacing, starting = [], []
        for plan in plans:
            place = self._places[plan.name]
            if place.current is None:
                starting.append(plan)
            elif place.coming is None and not is_same(place.current.plan, plan) and not place.current.is_arriving:
                replacing.append((place.current.plan, plan))
        asleep = [plan for plan in starting if plan.name not in self._awake]
        found = due(replacing, [plan for plan in starting if plan not in asleep], self._free_bytes(), self._moving())
        self._apply(Due((*found.start, *(plan.name for plan in asleep)), found.drain), by_name)

    def _apply(self, found: Due, plans: Mapping[str, EnginePlan]) -> None:
        for name in found.start:
            place = self._places[name]
            member = self._member(plans[name], self._free_instance(name))
            member.begin(asleep=place.current is None and name not in self._awake)
            if place.current:
                place.coming = member
            else:
                place.current = member
        for name in found.drain:
            place = self._places[name]
            self._dismiss(place.current)
            place.current = None

    def _free_bytes(self) -> dict[str, int]:
        """What nobody has, or is about to take: an engine that starts, or starts again, may not have its memory yet."""
        free = dict(self._doors.free_bytes())
        for member in self._members():
            if member.is_starting or member.state is EngineState.FAILED:
                for device, needed in needs_of(member.plan).items():
                    if device in free:
                        free[device] -= needed
        return free

    def _moving(self) -> frozenset[str]:
        """Devices on which something starts, ends, or is about to be replaced."""
        found = [each.plan for each in self._leaving]
        found += [each.plan for each in self._members() if each.is_starting or each.state is EngineState.DRAINING]
        found += [place.current.plan for place in self._places.values() if place.current and place.coming]
        return frozenset(device for plan in found for device in devices_of(plan))

    def _member(self, plan: EnginePlan, instance: str) -> Member:
        return Member(plan, instance, self._doors.make, self._doors.say, self._doors.record)

    def _free_instance(self, name: str) -> str:
        """Log and record are called by instance, so no two that live may share one, be they ours or not."""
        taken = {each.instance for each in (*self._members(), *self._leaving)}
        names = (name if number == 1 else f"{name}~{number}" for number in count(1))
        return next(each for each in names if each not in taken and self._doors.record(each) is None)

    def _dismiss(self, member: Member | None) -> None:
        if member:
            member.leave()
            self._leaving.append(member)


def _hopeless(member: Member) -> str:
    """Why a new engine will not start, "" while it may."""
    seen = member.view()
    has_failed = seen.state is EngineState.FAILED and seen.failed_starts >= HOPELESS_STARTS
    has_given_up = seen.is_final and not member.is_quarantined
    return (seen.last_error or "it tells no cause") if has_failed or has_given_up else ""
