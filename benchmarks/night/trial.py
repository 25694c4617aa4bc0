"""One fault on a stage that runs: visitors come, it strikes, all is watched until it is well again, and looked after.

It must not know which fault it is, nor judge.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from benchmarks.cases.stack import settled
from benchmarks.night.case import Case
from benchmarks.night.course import course
from benchmarks.night.evidence import Evidence
from benchmarks.night.night import Night
from benchmarks.night.signs import all_ready, by_name, is_disturbed
from benchmarks.night.stage import Stage
from benchmarks.night.visit import HOME, End, Visit
from benchmarks.night.visitors import Visitors
from benchmarks.night.witness import Witness
from engines.snapshot import Snapshot

READY_S = 90.0
# Beyond what is promised, so that a figure stands in the table where the promise is missed.
BEYOND_S = 30.0
HOME_S = 20.0
LEAVE_S = 20.0
TIDY_S = 8.0
LOOK_S = 0.2
FAILURES = (ValueError, OSError)


async def tried(case: Case, stage: Stage, known: Mapping[int, str]) -> Evidence:
    """Never raises for what the stack does: what could not be done is `failure`."""
    began_s = time.monotonic()
    async with Witness(stage.home) as witness, Visitors(stage.url, known) as visitors:
        night = Night(stage, witness, visitors)
        ready_s = await witness.until(lambda now: all_ready(now, now), began_s, READY_S)
        if ready_s is None:
            return untried(f"the stack was not ready for it after {READY_S:g} s", began_s)
        # A router that the fault before has ended is there, but has not loaded all that it needs for the cloud.
        await asyncio.to_thread(settled, stage.url)
        before = witness.latest()
        stage.kin.look()
        with night.afterwards:
            evidence = await _struck(case, night, before, began_s)
        views = (view for sight in witness.sights for view in sight.snapshot.engines)
        stage.ports |= {int(view.url.rsplit(":", 1)[1]) for view in views if view.url}
        return evidence


async def _struck(case: Case, night: Night, before: Snapshot, began_s: float) -> Evidence:
    coming = asyncio.create_task(night.visitors.come(case.rate))
    failure, found_s, back_s = "", None, None
    try:
        await asyncio.sleep(case.calm_s)
        night.mark()
        await case.strike(night)
        found_s, back_s = await _watched(case, night, before)
        await asyncio.sleep(case.after_s)
    except FAILURES as error:
        failure = str(error)
    finally:
        coming.cancel()
        with suppress(asyncio.CancelledError):
            await coming
    unanswered = await night.visitors.leave(LEAVE_S)
    after = by_name(night.witness.latest())
    changed = [name for name, view in by_name(before).items() if name not in after or after[name].pid != view.pid]
    night.stage.kin.look()
    visits = tuple(night.visitors.visits)
    return Evidence(
        visits=visits,
        struck_s=night.struck_s,
        found_s=_since(night, found_s),
        away_s=_since(night, _first_away(visits, night.struck_s)),
        back_s=_since(night, back_s),
        unanswered=unanswered,
        strays=await _strays(night.stage),
        changed=tuple(changed),
        restless=_restless(night, before),
        course=course(night.witness.sights, night.struck_s),
        failure=failure,
        seconds=time.monotonic() - began_s,
    )


async def _watched(case: Case, night: Night, before: Snapshot) -> tuple[float | None, float | None]:
    """When it was found, and when all was well again."""
    if case.aims.is_quiet:
        # Nothing is to be found: what is waited for is that it stays so.
        return None, await _home(night, time.monotonic())
    limit_s = (case.aims.found_s or case.aims.back_s) + BEYOND_S
    found_s = await night.witness.until(lambda now: case.found(before, now), night.struck_s, limit_s)
    since_s = night.struck_s if found_s is None else found_s
    left_s = max(BEYOND_S, case.aims.back_s + BEYOND_S - (time.monotonic() - night.struck_s))
    back_s = await night.witness.until(lambda now: case.back(before, now), since_s, left_s)
    return found_s, None if back_s is None else await _home(night, back_s)


async def _home(night: Night, since_s: float) -> float | None:
    """When the first request that came after `since_s` was answered at home; None: none was, or the plan fell apart."""
    deadline_s = time.monotonic() + HOME_S
    while time.monotonic() < deadline_s:
        at_home = [each for each in night.visitors.visits if each.started_s >= since_s and _is_home(each)]
        if at_home:
            return max(since_s, min(each.ended_s for each in at_home))
        await asyncio.sleep(LOOK_S)
    return None


def _is_home(visit: Visit) -> bool:
    return visit.end is End.ANSWERED and visit.target.startswith(HOME)


def _first_away(visits: tuple[Visit, ...], since_s: float) -> float | None:
    seen = [each.seen_s for each in visits if each.end is End.ANSWERED and each.is_away and each.seen_s >= since_s]
    return min(seen, default=None)


def _since(night: Night, at_s: float | None) -> float | None:
    return None if at_s is None else max(0.0, at_s - night.struck_s)


def _restless(night: Night, before: Snapshot) -> tuple[str, ...]:
    """Engines that were disturbed at any time after the fault, in words, the first disturbance of each."""
    then, words = by_name(before), dict[str, str]()
    for sight in night.witness.sights:
        for view in sight.snapshot.engines:
            if sight.at_s >= night.struck_s and view.name in then and is_disturbed(then[view.name], view):
                why = f": {view.last_error}" if view.last_error else ""
                words.setdefault(view.name, f"{view.name} was {view.state}, restart {view.restarts}{why}")
    return tuple(words.values())


async def _strays(stage: Stage) -> tuple[str, ...]:
    """What is left when it has had time to go: ends take a moment."""
    deadline_s = time.monotonic() + TIDY_S
    while (found := await asyncio.to_thread(stage.kin.strays)) and time.monotonic() < deadline_s:
        await asyncio.sleep(LOOK_S)
    return found


def untried(failure: str, began_s: float) -> Evidence:
    """Of a fault that could not be tried."""
    nothing = Evidence((), began_s, None, None, None, 0, (), ())
    return replace(nothing, failure=failure, seconds=time.monotonic() - began_s)
