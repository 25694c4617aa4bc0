"""Carries shadows out: the copy of a request, whose answer is read to its end, counted, written, and shown to nobody.

A copy has one try at the first target that the rules choose, no second one, and waits for nothing. It is not sent where
it would be in the way of requests that somebody waits for; then its row says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog
from msgspec.structs import replace

from router.ask import Ask
from router.attempts import open_first
from router.comparing.shadow import in_the_way, shadows_of
from router.course import Course
from router.decided import answered
from router.delivery import deliver
from router.errand import Errand
from router.errors import ApiError, TargetUnavailable
from router.exchange import STOPPING, Flow
from router.failure import Failure
from router.routing.gate import Decision
from router.routing.terms import terms_of
from router.served import Doors, refused

log = structlog.get_logger()


def send_copies(doors: Doors, ask: Ask) -> None:
    """What the shadows want of a request whose answer has begun, after all that is due in this turn of the loop."""
    asyncio.get_running_loop().call_soon(_send, doors, ask)


def _send(doors: Doors, ask: Ask) -> None:
    for copied in shadows_of(ask, doors.watch.rules, time.time()):
        copy = Copy(doors, copied)
        if doors.slots.take():
            copy.go()
        else:
            copy.refuse(ApiError(429, "saturated", f"not sent: {doors.slots.taken} copies are under way"))


class Copy:
    """The copy of one request, on its way. An Audience that hears an answer and keeps nothing of it."""

    __slots__ = ("_ask", "_course", "_doors", "_errand", "arrived_s", "disconnected", "wire")

    def __init__(self, doors: Doors, ask: Ask) -> None:
        self._doors = doors
        self._ask = ask
        self._course = Course(Decision((), ask.how))
        self._errand: Errand | None = None
        self.arrived_s = time.monotonic()
        self.disconnected = False
        self.wire: Callable[[bytes], None] | None = None

    def go(self) -> None:
        """In a slot that was taken for it."""
        self._doors.outbox.running.add(self)
        self._errand = Errand(self._run())
        self._errand.run()

    def stop(self) -> None:
        """The router is being stopped."""
        if self._errand is not None:
            self._errand.cancel()

    def refuse(self, error: ApiError, under_way: int = 0) -> None:
        """Its row counts the tries of which a target may have heard: without any it was not sent."""
        attempts = under_way + sum(_was_reached(failure) for failure in self._course.failures)
        refused(self._doors, self._ask, self._course, self.arrived_s, error, attempts)

    async def _run(self) -> None:
        try:
            await self._carry_out()
        except asyncio.CancelledError:
            # Whoever held something has let go of it and settled on the way here.
            pass
        except Exception:
            log.exception("a shadow failed", shadow=self._ask.arm)
        finally:
            self._doors.slots.give_back()
            self._doors.outbox.running.discard(self)
            self._errand = None

    async def _carry_out(self) -> None:
        doors, ask, course = self._doors, self._ask, self._course
        try:
            decision = self._one_target()
            served = await open_first(doors, ask, course, self.arrived_s)
        except ApiError as error:
            self.refuse(error)
            return
        except asyncio.CancelledError:
            self.refuse(STOPPING, under_way=1)
            raise
        doors.watch.decisions.append(answered(ask, decision, served.target.name, served.reason, served.attempts))
        await deliver(doors, served, self)

    def _one_target(self) -> Decision:
        """The first of its own model that the rules choose, for the copy's own reason: an answer of one that stands in
        would be compared as if it were that model's. Raises ApiError where there is none for it."""
        doors, ask = self._doors, self._ask
        money = doors.money(ask.tier)
        decision = doors.watch.would(ask, money, self.arrived_s)
        own = [each for each in decision.targets if ask.model in each.models]
        decision = replace(decision, targets=tuple(own[:1]), reason=ask.how)
        # What was considered stands in the list of decisions, however it ends.
        self._course.decision = decision
        if decision.refusal is not None:
            raise decision.refusal
        if not own:
            raise ApiError(503, "no_target", f"not sent: no target of {ask.model} can serve this now")
        if doors.watch.pools.is_waited_for(decision.targets[0]):
            raise ApiError(429, "saturated", f"not sent: others wait for room at {decision.targets[0].name}")
        why = in_the_way(ask, decision.targets[0], terms_of(ask, doors.watch.rules, self.arrived_s, money.stretch))
        if why is not None:
            raise ApiError(429, "saturated", f"not sent: {decision.targets[0].name} has no room to spare ({why})")
        return decision

    # What an answer tells its audience.

    def respond(self, status: int, lines: bytes, body: bytes) -> None:
        pass

    def begin(self, lines: bytes, source: Flow) -> None:
        pass

    def write(self, events: bytes) -> None:
        pass

    def end(self, events: bytes) -> None:
        pass


def _was_reached(failure: Failure) -> bool:
    """Whether the target may have had the request."""
    return not isinstance(failure, TargetUnavailable) or failure.was_reached
