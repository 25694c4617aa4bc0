"""Requests of several deployments in one line: who holds up whom, and what they hear."""

from __future__ import annotations

import time
from pathlib import Path

from router.quotas.permit import Key
from router.quotas.pool import Terms
from router.registry import Quota
from tests.test_quotas_line import LONGEST_S, Asker, counting, over


async def test_a_full_deployment_holds_up_no_other_where_both_have_bounds_in_common(tmp_path: Path) -> None:
    with counting(tmp_path, Quota(requests_per_minute=60), own=Quota(requests_per_minute=1)) as counter:
        Asker(counter, "big")
        blocked = [Asker(counter, "big", patience_s=1e9) for _ in range(5)]
        assert all(asker.waits for asker in blocked)
        # Those before it want another deployment, and wait for that alone.
        free = Asker(counter, "small", patience_s=3.0)
        await over([free])
        assert free.permit is not None
        for asker in blocked:
            asker.errand.cancel()


async def test_who_waits_for_what_all_share_is_not_overtaken_by_those_who_came_later(tmp_path: Path) -> None:
    with counting(tmp_path, Quota(requests_per_minute=1200)) as counter:
        while Asker(counter, patience_s=0.0).full is None:
            pass
        askers = [Asker(counter, name) for name in ("big", "small", "big", "small")]
        assert all(asker.waits for asker in askers)
        await over(askers)
    assert sorted(askers, key=lambda asker: asker.ended_s) == askers


async def test_all_who_wait_for_what_an_edit_takes_away_are_sent_on_at_once(tmp_path: Path) -> None:
    with counting(tmp_path, Quota(concurrent=1)) as counter:
        askers = [Asker(counter, patience_s=1e9) for _ in range(50)]
        counter.obey(Terms(Quota(), {"small": (Key("1", "A"),)}, {"small": Quota()}))
        began_s = time.monotonic()
        await over(askers[1:])
        assert time.monotonic() - began_s < LONGEST_S / 4
    assert all(asker.full is not None for asker in askers[1:])


async def test_who_finds_room_but_others_before_it_hears_of_them(tmp_path: Path) -> None:
    with counting(tmp_path, Quota(), own=Quota(requests_per_minute=1)) as counter:
        Asker(counter, "big")
        blocked = Asker(counter, "big", patience_s=1e9)
        sent_on = Asker(counter, "small", patience_s=-1.0)
        assert sent_on.full is not None
        assert (sent_on.full.why, sent_on.full.ready_in_s) == ("others wait for it", 0.0)
        blocked.errand.cancel()
