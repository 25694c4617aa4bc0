"""The targets as they are seen now, each built anew only when something about it has changed.

Owned by `router.watch`, which says which account has changed. What changes by itself is looked at when its time has
come: a target that is not well, a cloud that may have fallen silent, the moment at which news are old. What siblings
show is looked at each time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from router.account import Account
from router.health.ejection import spared
from router.quotas.room import UNBOUNDED, Room
from router.routing.fleet import STALE_S, Place, Target, as_seen, plain_tokens
from router.routing.seats import Seats, seats_of
from router.siblings import Row, Siblings

NOBODY: Sequence[Row] = ()
FORGETS_EACH_S = 1.0
# Members of an enumeration are slow to look up in it.
LOCAL = Place.LOCAL


class Roster:
    """Standing targets, in their order, with their accounts. Not thread-safe: it belongs to one event loop."""

    def __init__(self, siblings: Siblings | None) -> None:
        self._siblings = siblings
        self._standing: tuple[tuple[Target, Account], ...] = ()
        self._at: dict[Account, int] = {}
        self._changed: set[Account] = set()
        # Who is not well or may soon be so, with the moment at which to look at it again, and the first of these.
        self._restless: dict[Account, float] = {}
        self._due_s = math.inf
        # How many engines are on.
        self._engines = 0
        self._seen: list[Target] = []
        self._targets: tuple[Target, ...] = ()
        self._others: list[Sequence[Row]] = []
        # By key, and whether siblings were asked of all of them.
        self._place: dict[str, int] = {}
        self._is_new = True
        self._rooms: Mapping[str, Room] = {}
        self._looked_at_s = -math.inf
        # The moment at which the next report is too old.
        self._old_from_s = math.inf
        self.where: Mapping[str | None, Seats] = {}
        self.plain_tokens = 0

    def __repr__(self) -> str:
        return f"<Roster targets={len(self._standing)} restless={len(self._restless)}>"

    @property
    def standing(self) -> Sequence[tuple[Target, Account]]:
        return self._standing

    def stand(self, standing: Sequence[tuple[Target, Account]]) -> None:
        """These targets from now on, each to be looked at."""
        self._standing = tuple(standing)
        self._at = {account: at for at, (_, account) in enumerate(standing)}
        self._seen = [target for target, _ in standing]
        # Where nobody is left there is nobody to look at.
        self._targets = tuple(self._seen)
        self._others = [NOBODY] * len(standing)
        self._place = {target.key: at for at, (target, _) in enumerate(standing)}
        self._is_new = True
        self._restless = {}
        self._engines = sum(target.place is LOCAL and target.off is None for target, _ in standing)
        self._old_from_s = -math.inf
        self.where = seats_of((target.place is LOCAL, target.models) for target, _ in standing)
        self.plain_tokens = plain_tokens([target for target, _ in standing])

    def touch(self, account: Account) -> None:
        """Something that was counted there has changed."""
        self._changed.add(account)

    def look(self, now_s: float, snapshot_at_s: float, rooms: Mapping[str, Room]) -> tuple[Target, ...]:
        """All targets at this moment, in their order."""
        if now_s < self._looked_at_s or now_s > self._old_from_s:
            self._changed = set(self._at)
            self._old_from_s = self._next_old_s(snapshot_at_s, now_s)
        self._looked_at_s = now_s
        if rooms is not self._rooms:
            self._let_in(rooms)
        if self._siblings is not None:
            self._listen(self._siblings)
        if self._changed or now_s >= self._due_s:
            self._build(now_s, now_s - snapshot_at_s)
        return self._targets

    def _build(self, now_s: float, snapshot_age_s: float) -> None:
        changed, self._changed = self._changed, set()
        if now_s >= self._due_s:
            changed.update([account for account, due_s in self._restless.items() if now_s >= due_s])
        for account in changed:
            at = self._at.get(account)
            if at is not None:
                self._seen[at] = self._look_at(at, now_s, snapshot_age_s)
        self._due_s = min(self._restless.values()) if self._restless else math.inf
        self._targets = tuple(self._with_some_spared() if self._restless else self._seen)

    def _with_some_spared(self) -> Sequence[Target]:
        """Who is seen. No more than half of the engines that are on are passed over for their failures; only who is
        restless can be."""
        seen = self._seen
        places = sorted([at for account in self._restless if _is_ill_here(seen[at := self._at[account]])])
        verdicts = [seen[at].health for at in places]
        kept = spared(verdicts, self._engines)
        if kept is verdicts:
            return seen
        targets = list(seen)
        for at, verdict in zip(places, kept, strict=True):
            targets[at] = replace(seen[at], health=verdict)
        return targets

    def _look_at(self, at: int, now_s: float, snapshot_age_s: float) -> Target:
        target, account = self._standing[at]
        others = self._others[at]
        in_flight = account.in_flight(others)
        health, until_s = account.verdict(now_s, others, in_flight)
        if not account.is_calm:
            # It is forgotten, once it counts no more, by whoever looks at it.
            self._restless[account] = min(until_s, now_s + FORGETS_EACH_S)
        elif until_s < math.inf:
            self._restless[account] = until_s
        else:
            self._restless.pop(account, None)
        room = self._rooms.get(target.name, UNBOUNDED)
        return as_seen(target, in_flight, account.pace, health, snapshot_age_s, room)

    def _let_in(self, rooms: Mapping[str, Room]) -> None:
        """Whose limits leave something else than before."""
        before, self._rooms = self._rooms, rooms
        if rooms or before:
            for target, account in self._standing:
                if rooms.get(target.name) != before.get(target.name):
                    self._changed.add(account)

    def _listen(self, siblings: Siblings) -> None:
        news = siblings.news()
        # Of whom nobody has asked yet, nobody has told either.
        asked = self._place if news is None or self._is_new else self._place.keys() & news
        self._is_new = False
        for key in asked:
            at = self._place[key]
            _, account = self._standing[at]
            others = siblings.others(key)
            # Rows are replaced and never changed, so what is unchanged is the same and quickly compared.
            before = self._others[at]
            if (others or before) and others != before:
                self._others[at] = others
                self._changed.add(account)

    def _next_old_s(self, snapshot_at_s: float, now_s: float) -> float:
        old_from_s = [
            snapshot_at_s + STALE_S - target.report_age_s
            for target, _ in self._standing
            if target.report_age_s is not None
        ]
        return min([each for each in old_from_s if each >= now_s], default=math.inf)


def _is_ill_here(target: Target) -> bool:
    return target.place is LOCAL and target.off is None and target.health.cause is not None
