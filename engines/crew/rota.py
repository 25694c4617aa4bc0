"""Turns among engines that cannot all be awake at once: what the crew remembers of them between two ticks.

`engines.life.residency` decides; this counts who was wanted and since when each has been idle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from engines.crew.member import Member
from engines.life.residency import Moves, Residence, Resident, moves, resident_needs, rooms_of
from engines.snapshot import EngineState, EngineUse, EngineView

_HOLDS_NOTHING = (EngineState.QUARANTINED, EngineState.STOPPED)
# Who has not asked again for so long has gone: longer than a request waits by default.
WANTED_FOR_S = 90.0
_RESIDENCE = {EngineState.READY: Residence.AWAKE, EngineState.SLEEPING: Residence.ASLEEP}


class Rota:
    """`use` is what routers have at a URL."""

    def __init__(self, use: Callable[[str], EngineUse]) -> None:
        self._use = use
        self._wanted: Counter[str] = Counter()
        self._wanted_at_s: dict[str, float] = {}
        # When each was seen busy last, or first seen at all.
        self._busy_at_s: dict[str, float] = {}

    def moves(self, members: Sequence[Member], wanted: Mapping[str, int], now_s: float) -> Moves:
        """What shall begin now. `wanted` are the requests by model that found it asleep, since this was asked last."""
        if all(each.plan.keep and not each.plan.is_alternate for each in members):
            return Moves()
        residents = [
            self._resident(each, view, wanted.get(view.model, 0), now_s)
            for each in members
            if (view := each.view()).state not in _HOLDS_NOTHING
        ]
        names = {each.name for each in residents}
        self._busy_at_s = {name: at_s for name, at_s in self._busy_at_s.items() if name in names}
        return moves(residents, rooms_of([each.plan for each in members]))

    def _resident(self, member: Member, view: EngineView, wanted: int, now_s: float) -> Resident:
        name, state = member.plan.name, _RESIDENCE.get(view.state, Residence.MOVING)
        if state is Residence.ASLEEP:
            # One that need not rest any more, because stack.toml says so now, comes back as if somebody asked for it.
            asked = max(wanted, 1 if member.plan.keep else 0)
            if asked:
                self._wanted_at_s[name] = now_s
            self._wanted[name] += asked
        if state is not Residence.ASLEEP or now_s - self._wanted_at_s.get(name, now_s) > WANTED_FOR_S:
            self._wanted.pop(name, None)
        is_busy = self._use(view.url).in_flight > 0 or (view.load is not None and view.load.running > 0)
        if is_busy or name not in self._busy_at_s:
            self._busy_at_s[name] = now_s
        needs, rests = resident_needs(member.plan)
        return Resident(
            name=name,
            state=state,
            keep=member.plan.keep,
            needs=needs,
            rests=rests,
            since_s=view.in_state_s,
            idle_s=now_s - self._busy_at_s[name],
            wanted=self._wanted[name],
            is_busy=is_busy,
            min_residence_s=member.plan.min_residence_s,
        )
