"""One provider's windows and the line before them. Written by `router.quotas.quotas` only."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import count

from router.errand import Wait
from router.ids import new_id
from router.quotas import pool
from router.quotas.learned import Told
from router.quotas.line import MOST_WAITING, Held, Line, Rank, Waiter
from router.quotas.meter import NOTHING, Hold, Need, total
from router.quotas.permit import Permit
from router.quotas.pool import Pool, Terms, Turn, Wish
from router.quotas.room import UNBOUNDED, Room
from router.quotas.shared import SharedPool
from router.registry import Quota

# Other workers take and give back without a word, so who waits looks again so often; not more often than the least.
LOOK_EACH_S = 0.1
LEAST_S = 0.002
# Rooms that are shown are this old at most. Windows fill up all the time, but a twentieth of a second decides nothing.
SHOWN_S = 0.05
# No request runs longer; whoever holds one of the places at once for so long has forgotten it.
LONGEST_HOLD_S = 3600.0


# Why not now, where the windows have room and those who came before have not used it yet.
WAITED_FOR = "others wait for it"


class Full(Exception):
    """There is no room, and none in time. `ready_in_s` is infinite where there never will be."""

    def __init__(self, why: str, ready_in_s: float) -> None:
        super().__init__(why)
        self.why = why
        self.ready_in_s = ready_in_s


class Counter:
    """`terms` may be replaced at any time; permits that are out then still end in `settle`."""

    def __init__(self, provider: str, terms: Terms, shared: SharedPool, clock: Callable[[], float]) -> None:
        self._provider = provider
        self._shared = shared
        self._clock = clock
        self._line = Line()
        self._granted: dict[Waiter, Permit] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._numbers = count()
        self._shown: dict[str, Room] = {}
        self._shown_of: tuple[Pool, int] | None = None
        self._shown_until_s = 0.0
        self.obey(terms)

    def __repr__(self) -> str:
        return f"<Counter {self._provider} waiting={len(self._line)}>"

    def obey(self, terms: Terms) -> None:
        self._terms = terms
        self._shown_of = None
        self._change(lambda old: pool.without_dead(pool.fitted(old, terms, self._clock()), _is_alive, self._clock()))
        if len(self._line):
            self._look_in(0.0)

    def retire(self) -> None:
        """No table names the provider any more: who waits is sent on. What was used stays used, should it come back."""
        self._terms = Terms(Quota(), {}, {})
        self._shown_of = None
        if len(self._line):
            self._look_in(0.0)

    def keys_of(self, deployment: str) -> int:
        return len(self._terms.keys.get(deployment, ()))

    @property
    def waiting(self) -> int:
        return len(self._line)

    def rooms(self, now_s: float) -> Mapping[str, Room]:
        """By target name, of deployments that are not unbounded. The same object while nothing has changed."""
        state = self._shared.read()
        if self._shown_of is not None and now_s < self._shown_until_s:
            shown_of, waiting = self._shown_of
            if shown_of is state and waiting == len(self._line):
                return self._shown
        rooms = {f"cloud/{name}": self._room(state, name, now_s) for name, keys in self._terms.keys.items() if keys}
        rooms = {name: room for name, room in rooms.items() if room != UNBOUNDED}
        if rooms != self._shown:
            self._shown = rooms
        at_rest = all(room.left_share == 1.0 and not room.ready_in_s for room in rooms.values())
        self._shown_of, self._shown_until_s = (state, len(self._line)), math.inf if at_rest else now_s + SHOWN_S
        return self._shown

    async def take(self, deployment: str, need: Need, rank: Rank, until_s: float) -> Permit:
        """Now if there is room and nobody waits, else in turn. Raises Full where that would be after `until_s`, at once
        if it is foreseen."""
        waiter = Waiter(
            Rank(rank.ttft_target_s, rank.deadline_at_s, next(self._numbers)), deployment, need, until_s, Wait()
        )
        if not len(self._line) and isinstance(got := self._grant(waiter), Permit):
            return got
        now_s = self._clock()
        turn = self._turn(waiter, now_s)
        if now_s + turn.wait_s > until_s:
            raise Full(turn.why or WAITED_FOR, turn.wait_s)
        if len(self._line) >= MOST_WAITING:
            raise Full(f"{MOST_WAITING} others wait for it", turn.wait_s)
        self._line.join(waiter)
        self._look_in(turn.wait_s)
        try:
            await waiter.wait
        except asyncio.CancelledError:
            if (permit := self._granted.pop(waiter, None)) is not None:
                self.settle(permit, NOTHING)
            raise
        finally:
            self._line.leave(waiter)
        permit = self._granted.pop(waiter, None)
        if permit is None:
            turn = self._turn(waiter, self._clock())
            raise Full(turn.why or WAITED_FOR, turn.wait_s)
        return permit

    def settle(self, permit: Permit, used: Need) -> None:
        """It has ended and used that much."""
        now_s = self._clock()

        def step(old: Pool) -> Pool:
            new = pool.settled(old, permit, used, now_s)
            return pool.seen(new, permit.deployment, used) if used.requests and new is not old else new

        self._change(step)
        if len(self._line):
            self._look_in(0.0)

    def learn(self, permit: Permit, told: Told) -> None:
        now_s = self._clock()
        self._change(lambda old: pool.heard(old, self._terms, permit, told, now_s))

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._shared.close()

    def _room(self, state: Pool, deployment: str, now_s: float) -> Room:
        needs = self._line.needs()
        ahead, ahead_here = total(list(needs.values())), needs.get(deployment, NOTHING)
        return pool.room(state, self._terms, deployment, now_s, ahead, ahead_here)

    def _turn(self, waiter: Waiter, now_s: float) -> Turn:
        ahead = self._line.ahead_of(waiter.rank, waiter.deployment)
        return self._turns(self._shared.read(), waiter, now_s, *ahead)[0]

    def _turns(
        self, state: Pool, waiter: Waiter, now_s: float, ahead: Need = NOTHING, ahead_here: Need = NOTHING
    ) -> Sequence[Turn]:
        wish = Wish(waiter.deployment, waiter.need, ahead, ahead_here, waiter.rank.number)
        return pool.turns(state, self._terms, wish, now_s)

    def _grant(self, waiter: Waiter) -> Permit | Held:
        """Take what it needs, if a key has it."""
        got: list[Permit | Held] = []
        now_s = self._clock()
        hold = Hold(os.getpid(), new_id(), now_s, now_s + LONGEST_HOLD_S)

        def step(old: Pool) -> Pool:
            turns = self._turns(old, waiter, now_s)
            if turns[0].wait_s and turns[0].why.startswith("concurrent"):
                old = pool.without_dead(old, _is_alive, now_s)
                turns = self._turns(old, waiter, now_s)
            if turns[0].wait_s:
                got.append(_held(turns))
                return old
            permit = Permit(self._provider, waiter.deployment, turns[0].key, waiter.need, hold.name)
            got.append(permit)
            return pool.taken(old, permit, now_s, hold)

        self._change(step)
        return got[0]

    def _look_in(self, s: float) -> None:
        """Look again who may go, in so long, or sooner if that was planned already."""
        loop = asyncio.get_running_loop()
        at_s = loop.time() + min(max(s, LEAST_S), LOOK_EACH_S)
        if self._timer is not None:
            if self._timer.when() <= at_s:
                return
            self._timer.cancel()
        self._timer = loop.call_at(at_s, self._look)

    def _look(self) -> None:
        self._timer = None
        served = self._line.serve(self._admit)
        now_s = self._clock()
        loop = asyncio.get_running_loop()
        for waiter in (*served, *self._line.late(now_s)):
            # In a turn of the loop of its own, for it may go on at once.
            loop.call_soon(waiter.wait.done, None)
        head = self._line.head
        if head is not None:
            ready_in_s = self._turns(self._shared.read(), head, now_s)[0].wait_s
            self._look_in(min(ready_in_s, self._line.first_s(now_s)))

    def _admit(self, waiter: Waiter) -> Held | None:
        got = self._grant(waiter)
        if isinstance(got, Held):
            return got
        self._granted[waiter] = got
        return None

    def _change(self, step: Callable[[Pool], Pool]) -> None:
        self._shared.change(step)


def _held(turns: Sequence[Turn]) -> Held:
    if math.isinf(turns[0].wait_s):
        return Held.FOREVER
    return Held.BY_ALL if all(turn.for_all for turn in turns) else Held.HERE


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
