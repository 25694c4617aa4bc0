"""The targets as they are seen now, each built anew only when something about it has changed.

Owned by `router.watch`, which says which account has changed. What changes by itself is looked at each time: a target
that is not well, a cloud that may have fallen silent, what siblings show, and the moment at which news are old.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from router.account import Account
from router.health.ejection import LEAST_WAITING
from router.quotas.room import UNBOUNDED, Room
from router.routing.fleet import STALE_S, Place, Target, as_seen, plain_tokens, with_some_spared
from router.routing.seats import Seats, seats_of
from router.siblings import Row, Siblings

NOBODY: Sequence[Row] = ()
# Members of an enumeration are slow to look up in it.
LOCAL = Place.LOCAL


class Roster:
    """Standing targets, in their order, with their accounts. Not thread-safe: it belongs to one event loop."""

    def __init__(self, siblings: Siblings | None) -> None:
        self._siblings = siblings
        self._standing: tuple[tuple[Target, Account], ...] = ()
        self._at: dict[Account, int] = {}
        self._changed: set[Account] = set()
        # Looked at each time.
        self._restless: set[Account] = set()
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
        self._restless = set()
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
        if self._changed or self._restless:
            self._build(now_s, now_s - snapshot_at_s)
        return self._targets

    def _build(self, now_s: float, snapshot_age_s: float) -> None:
        changed = self._changed | self._restless if self._restless else self._changed
        self._changed = set()
        for account in changed:
            at = self._at.get(account)
            if at is not None:
                self._seen[at] = self._look_at(at, now_s, snapshot_age_s)
        # Only who is not calm can be ill.
        ill = [self._seen[self._at[account]] for account in self._restless]
        is_ill_here = any([each.place is LOCAL and each.health.cause is not None for each in ill])
        self._targets = tuple(with_some_spared(self._seen) if is_ill_here else self._seen)

    def _look_at(self, at: int, now_s: float, snapshot_age_s: float) -> Target:
        target, account = self._standing[at]
        others = self._others[at]
        in_flight = account.in_flight(others)
        health = account.verdict(now_s, others, in_flight)
        if not account.is_calm or (in_flight.unstarted >= LEAST_WAITING and target.place is not LOCAL):
            self._restless.add(account)
        else:
            self._restless.discard(account)
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
