"""Requests before full windows: who goes first, who is sent on at once, and that no place is ever lost."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from router.errand import Errand
from router.quotas.counter import Counter, Full
from router.quotas.learned import Told
from router.quotas.line import MOST_WAITING, Rank
from router.quotas.meter import Need
from router.quotas.permit import Key, Permit
from router.quotas.pool import Terms
from router.quotas.shared import SharedPool
from router.registry import Quota

ONE = Need(1, 100, 50)
# Nobody waits longer for anything here; nothing takes nearly as long.
LONGEST_S = 20.0


class Asker:
    """One request that wants a permit, and what has become of it."""

    def __init__(self, counter: Counter, name: str = "big", ttft_s: float = 2.0, patience_s: float = LONGEST_S) -> None:
        self.counter = counter
        self.permit: Permit | None = None
        self.full: Full | None = None
        self.waited_s = 0.0
        self.ended_s = 0.0
        self._arguments = (name, ONE, Rank(ttft_s), time.time() + patience_s)
        self.errand = Errand(self._ask())
        self.errand.run()

    async def _ask(self) -> None:
        began_s = time.monotonic()
        try:
            self.permit = await self.counter.take(*self._arguments)
        except Full as full:
            self.full = full
        self.ended_s = time.monotonic()
        self.waited_s = self.ended_s - began_s

    @property
    def waits(self) -> bool:
        return not self.errand.is_over

    def end(self) -> None:
        assert self.permit is not None
        self.counter.settle(self.permit, ONE)


def terms(bounds: Quota, own: Quota | None = None) -> Terms:
    return Terms(
        bounds, {"big": (Key("1", "A"),), "small": (Key("1", "A"),)}, {"big": own or Quota(), "small": Quota()}
    )


@contextmanager
def counting(folder: Path, bounds: Quota, own: Quota | None = None) -> Iterator[Counter]:
    counter = Counter("p", terms(bounds, own), SharedPool(folder / "p"), time.time)
    try:
        yield counter
    finally:
        counter.close()


async def over(askers: Sequence[Asker]) -> None:
    async with asyncio.timeout(LONGEST_S):
        while any(asker.waits for asker in askers):
            await asyncio.sleep(0.001)


def test_whoever_finds_room_does_not_wait(tmp_path: Path) -> None:
    with counting(tmp_path, Quota(requests_per_minute=30)) as counter:
        askers = [Asker(counter) for _ in range(29)]
    assert all(asker.permit is not None for asker in askers)


async def test_who_would_wait_too_long_is_sent_on_at_once_and_told_for_how_long(tmp_path: Path) -> None:
    with counting(tmp_path, Quota(requests_per_minute=30)) as counter:
        for _ in range(29):
            Asker(counter)
        sent_on = Asker(counter, patience_s=1.0)
        assert sent_on.full is not None
        assert sent_on.full.ready_in_s == pytest.approx(2.0, abs=0.2)
        assert sent_on.full.why == "requests_per_minute (30)"
        assert counter.waiting == 0


async def test_what_never_fits_is_sent_on_at_once(tmp_path: Path) -> None:
    with counting(tmp_path, Quota(tokens_per_minute=100)) as counter:
        asker = Asker(counter)
    assert asker.full is not None
    assert asker.full.ready_in_s == math.inf


async def test_who_can_wait_gets_in_when_the_window_has_room(tmp_path: Path) -> None:
    # Ten come back each second.
    with counting(tmp_path, Quota(requests_per_minute=600)) as counter:
        while Asker(counter, patience_s=0.0).full is None:
            pass
        late = [Asker(counter) for _ in range(6)]
        await over(late)
    assert all(asker.permit is not None for asker in late)
    assert sorted(late, key=lambda asker: asker.ended_s) == late
    assert late[-1].waited_s == pytest.approx(0.6, abs=0.4)


async def test_the_shorter_promise_and_then_the_earlier_one_goes_first(tmp_path: Path) -> None:
    with counting(tmp_path, Quota(concurrent=1)) as counter:
        first = Asker(counter)
        bulk, standard, other, premium = (Asker(counter, ttft_s=s) for s in (20.0, 2.0, 2.0, 1.0))
        order = []
        running = first
        for _ in range(4):
            running.end()
            waiting = [each for each in (bulk, standard, other, premium) if each not in order]
            async with asyncio.timeout(LONGEST_S):
                while all(each.waits for each in waiting):
                    await asyncio.sleep(0.001)
            running = next(each for each in waiting if not each.waits)
            order.append(running)
    assert order == [premium, standard, other, bulk]


async def test_a_long_line_sends_on_who_would_wait_too_long_behind_it(tmp_path: Path) -> None:
    with counting(tmp_path, Quota(requests_per_minute=60)) as counter:
        for _ in range(58):
            Asker(counter)
        waiting = [Asker(counter, patience_s=10) for _ in range(5)]
        impatient = Asker(counter, patience_s=4)
        preferred = Asker(counter, ttft_s=1.0, patience_s=4)
        assert all(asker.waits for asker in waiting)
        assert impatient.full is not None
        assert impatient.full.ready_in_s == pytest.approx(6, abs=0.5)
        assert preferred.waits
        for asker in (*waiting, preferred):
            asker.errand.cancel()
        assert counter.waiting == 0


async def test_a_line_has_an_end(tmp_path: Path) -> None:
    with counting(tmp_path, Quota(concurrent=1)) as counter:
        askers = [Asker(counter, patience_s=1e9) for _ in range(MOST_WAITING + 2)]
        assert counter.waiting == MOST_WAITING
        assert askers[-1].full is not None
        assert str(MOST_WAITING) in askers[-1].full.why
        for asker in askers[1:-1]:
            asker.errand.cancel()


async def test_who_leaves_the_line_takes_nothing_with_him(tmp_path: Path) -> None:
    with counting(tmp_path, Quota(concurrent=1)) as counter:
        running, gone, next_one = Asker(counter), Asker(counter), Asker(counter)
        gone.errand.cancel()
        running.end()
        await over([next_one])
        assert gone.permit is None
        assert next_one.permit is not None


async def test_who_leaves_at_the_moment_of_his_turn_gives_his_place_to_the_next(tmp_path: Path) -> None:
    with counting(tmp_path, Quota(concurrent=1)) as counter:
        running, gone = Asker(counter), Asker(counter)
        running.end()
        async with asyncio.timeout(LONGEST_S):
            # The place is his now, and he will hear of it in the next turn of the loop.
            while counter.waiting:
                await asyncio.sleep(0)
        if gone.waits:
            gone.errand.cancel()
        else:
            gone.end()
        assert Asker(counter).permit is not None


async def test_a_full_deployment_does_not_hold_up_another_one(tmp_path: Path) -> None:
    with counting(tmp_path, Quota(), own=Quota(requests_per_minute=1)) as counter:
        Asker(counter, "big")
        blocked = Asker(counter, "big", patience_s=1e9)
        assert blocked.waits
        free = Asker(counter, "small")
        await over([free])
        assert free.permit is not None
        blocked.errand.cancel()


async def test_who_waited_as_long_as_he_would_is_sent_on(tmp_path: Path) -> None:
    with counting(tmp_path, Quota(concurrent=10)) as counter:
        running = [Asker(counter) for _ in range(10)]
        # It is expected in half a second, by the time that others held theirs; it is not given back.
        asker = Asker(counter, patience_s=0.8)
        assert asker.waits
        await over([asker])
        assert asker.full is not None
        assert len(running) == 10


async def test_two_workers_share_one_window(tmp_path: Path) -> None:
    with (
        counting(tmp_path, Quota(requests_per_minute=30)) as one,
        counting(tmp_path, Quota(requests_per_minute=30)) as two,
    ):
        askers = [Asker(each, patience_s=0.0) for _ in range(30) for each in (one, two)]
    assert sum(asker.permit is not None for asker in askers) == 29


async def test_a_place_that_another_worker_gives_back_is_found(tmp_path: Path) -> None:
    with counting(tmp_path, Quota(concurrent=1)) as one, counting(tmp_path, Quota(concurrent=1)) as two:
        running, waiting = Asker(one), Asker(two)
        assert waiting.waits
        running.end()
        await over([waiting])
        assert waiting.permit is not None


async def test_a_key_that_was_refused_lets_nobody_in_before_its_time(tmp_path: Path) -> None:
    with counting(tmp_path, Quota(requests_per_minute=1200)) as counter:
        asker = Asker(counter)
        assert asker.permit is not None
        counter.learn(asker.permit, Told({}, True, 0.3, False, "refused: slow down"))
        sent_on, patient = Asker(counter, patience_s=0.0), Asker(counter)
        await over([patient])
        assert sent_on.full is not None
        assert sent_on.full.why == "refused: slow down"
        assert patient.waited_s == pytest.approx(0.3, abs=0.2)


def test_rooms_show_what_is_left_and_are_the_same_object_while_nothing_changes(tmp_path: Path) -> None:
    with counting(tmp_path, Quota(requests_per_minute=30)) as counter:
        now_s = time.time()
        assert counter.rooms(now_s) == {}
        askers = [Asker(counter) for _ in range(29)]
        rooms = counter.rooms(now_s)
        assert set(rooms) == {"cloud/big", "cloud/small"}
        assert rooms["cloud/small"].ready_in_s == pytest.approx(2.0, abs=0.2)
        assert rooms["cloud/small"].left_share == pytest.approx(0.0, abs=0.01)
        assert counter.rooms(now_s) is rooms
        assert all(asker.permit for asker in askers)


async def test_who_waits_for_what_an_edit_takes_away_is_sent_on(tmp_path: Path) -> None:
    with counting(tmp_path, Quota(concurrent=1)) as counter:
        running, waiting = Asker(counter), Asker(counter)
        assert waiting.waits
        counter.obey(Terms(Quota(), {"small": (Key("1", "A"),)}, {"small": Quota()}))
        await over([waiting])
        assert waiting.full is not None
        assert waiting.full.ready_in_s == math.inf
        assert "taken it away" in waiting.full.why
        running.end()


async def test_who_waits_for_a_limit_that_is_raised_gets_in_at_once(tmp_path: Path) -> None:
    with counting(tmp_path, Quota(requests_per_day=1)) as counter:
        Asker(counter)
        waiting = Asker(counter, patience_s=1e9)
        assert waiting.waits
        counter.obey(terms(Quota(requests_per_day=2)))
        await over([waiting])
        assert waiting.permit is not None
