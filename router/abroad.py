"""A try at a cloud: leave of its provider's limits, the call with the key that has it, and what both are told of it."""

from __future__ import annotations

from router.ask import Ask
from router.clouds.cloud_reply import CloudReply
from router.errand import in_task
from router.errors import TargetUnavailable
from router.patience import Patience
from router.quotas.learned import Told
from router.quotas.permit import Permit
from router.routing.fleet import Target
from router.served import Doors

# A key that is not accepted, or whose account has no credit. Another one of the pool may be better.
KEY_FAULTS = frozenset({"401", "402", "403"})
KEY_PAUSE_S = 60.0
# What the Fleet shows is a moment old, and others may have come first: so much longer than it says is waited at most.
LONGER = 1.25
LONGER_S = 1.0


def wait_s(target: Target, promise_left_s: float, patience_s: float) -> float:
    """How long a request may wait for its turn there: for as long as keeps the promise, unless the decision was for it
    though its turn comes later, because nobody else comes sooner."""
    ready_in_s, left_s = target.room.ready_in_s, max(0.0, promise_left_s)
    if ready_in_s <= left_s:
        return min(left_s, patience_s)
    return min(ready_in_s * LONGER + LONGER_S, patience_s)


async def leave(doors: Doors, ask: Ask, target: Target, most_s: float) -> Permit:
    """Raises TargetUnavailable if there is none within that time. A copy never waits before clients."""
    tier = doors.watch.rules.tiers.get(ask.tier)
    promise_s = tier.ttft_target_s if tier is not None else 0.0
    return await doors.quotas.take(ask, target, promise_s, 0.0 if ask.shadow_of is not None else most_s)


async def answered(
    doors: Doors, ask: Ask, target: Target, patience: Patience, permit: Permit
) -> tuple[CloudReply, Permit]:
    """The reply, and the permit that it runs under: where the provider refuses one key, the next of the pool that has
    room is tried. Raises what the door to clouds does; no permit is left then."""
    while True:
        try:
            call = doors.clouds.open(ask, target, patience, permit.key.env)
            reply: CloudReply = await in_task(call, CloudReply.abandon)
        except TargetUnavailable as failure:
            permit = await _another(doors, ask, target, permit, failure)
        except BaseException:
            doors.quotas.give_back(permit, was_reached=True)
            raise
        else:
            if reply.told is not None:
                doors.quotas.learn(permit, reply.told)
            return reply, permit


async def _another(doors: Doors, ask: Ask, target: Target, permit: Permit, failure: TargetUnavailable) -> Permit:
    """Leave with another key, where it was the key that was refused. Raises the failure otherwise."""
    told = _told(doors, permit, failure)
    if told is not None:
        doors.quotas.learn(permit, told)
    doors.quotas.give_back(permit, was_reached=failure.was_reached)
    if told is None or not told.refused or not doors.quotas.has_another(permit):
        raise failure
    try:
        return await leave(doors, ask, target, 0.0)
    except TargetUnavailable:
        raise failure from None


def _told(doors: Doors, permit: Permit, failure: TargetUnavailable) -> Told | None:
    """What the failure says of the key. One that stands alone is judged by the target's breaker."""
    if failure.cause in KEY_FAULTS and doors.quotas.has_another(permit):
        return Told({}, True, KEY_PAUSE_S, False, f"{permit.key.env} is refused: {failure.message}")
    return failure.told
