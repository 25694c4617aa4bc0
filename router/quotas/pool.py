"""The keys of one provider and what has been taken from each, for all its deployments together. Pure.

Bounds of the provider hold for each key over all deployments, those of a deployment for that key there. What a provider
tells in its headers holds for the deployment, because most keep a count for each model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from router.quotas import meter
from router.quotas.learned import Told
from router.quotas.meter import NOTHING, Hold, Meter, Need
from router.quotas.permit import Key, Permit
from router.quotas.room import Room
from router.registry import Quota

# Before any request has been seen nothing is said of its tokens, so that no window seems too small for it.
UNSEEN = Need(1)
WEIGHT = 0.1


class Terms(msgspec.Struct, frozen=True):
    """What the tables say of a provider: its bounds, and of each deployment by name its keys and its bounds there.
    `free` are the deployments where nothing is paid."""

    pool: Quota
    keys: Mapping[str, tuple[Key, ...]]
    own: Mapping[str, Quota]
    free: frozenset[str] = frozenset()


class Pool(msgspec.Struct, frozen=True, array_like=True):
    """Meters by key, and by key and deployment; `usual` is what one request of a deployment takes."""

    meters: Mapping[str, Meter] = {}
    usual: Mapping[str, Need] = {}


class Wish(msgspec.Struct, frozen=True):
    """A request that wants `need` of a deployment, after those who are `ahead` of it, of whom some want the same
    deployment (`ahead_here`). Keys that are as good as each other are used in turn, beginning with `first`."""

    deployment: str
    need: Need
    ahead: Need = NOTHING
    ahead_here: Need = NOTHING
    first: int = 0


class Turn(msgspec.Struct, frozen=True):
    """When a key can take a request, why not now, and how much of its fullest window is left then. `for_all`: also what
    all deployments share has no room."""

    key: Key
    wait_s: float
    why: str
    left_share: float
    for_all: bool = False


GONE = Turn(Key("", ""), math.inf, "an edit of stack.toml has taken it away", 0.0)


def fitted(pool: Pool, terms: Terms, now_s: float) -> Pool:
    """With the bounds as the tables have them now. What is no longer in them is forgotten."""
    meters = {}
    for name, keys in terms.keys.items():
        for key in keys:
            at = _at(key, name)
            meters[key.id] = meter.fitted(pool.meters.get(key.id), terms.pool, now_s)
            meters[at] = meter.fitted(pool.meters.get(at), terms.own[name], now_s)
    usual = {name: need for name, need in pool.usual.items() if name in terms.own}
    return Pool({at: each for at, each in meters.items() if each is not None}, usual)


def turns(pool: Pool, terms: Terms, wish: Wish, now_s: float) -> Sequence[Turn]:
    """Keys in the order in which they should be used: who is ready first, of these who has most left. Those who are
    ahead use all keys alike. There is always one, and it is never ready where an edit has taken all away."""
    keys = terms.keys.get(wish.deployment, ())
    count = len(keys)
    if not count:
        return (GONE,)
    if count == 1:
        return (_turn(pool, keys[0], wish, now_s),)
    part = replace(wish, ahead=_part(wish.ahead, count), ahead_here=_part(wish.ahead_here, count))
    return sorted([_turn(pool, keys[(wish.first + at) % count], part, now_s) for at in range(count)], key=_soonest)


def room(
    pool: Pool, terms: Terms, deployment: str, now_s: float, ahead: Need = NOTHING, ahead_here: Need = NOTHING
) -> Room:
    """For one more request of usual size, as the Fleet shows it."""
    wish = Wish(deployment, pool.usual.get(deployment, UNSEEN), ahead, ahead_here)
    best = turns(pool, terms, wish, now_s)[0]
    return Room(best.wait_s, best.why, best.left_share, deployment in terms.free)


def taken(pool: Pool, permit: Permit, now_s: float, hold: Hold) -> Pool:
    """After a request was given that permit."""

    def take(each: Meter) -> Meter:
        return meter.taken(each, permit.need, now_s, hold)

    return _changed(pool, permit, take)


def settled(pool: Pool, permit: Permit, used: Need, now_s: float) -> Pool:
    """After it ended: what was taken is set right to what it `used`, and its hold ends."""
    change = used.less(permit.need)

    def settle(each: Meter) -> Meter:
        return meter.settled(each, change, now_s, permit.name)

    return _changed(pool, permit, settle)


def seen(pool: Pool, deployment: str, used: Need) -> Pool:
    """With what one more request used. Only where something counts: nobody asks for the usual size elsewhere."""
    old = pool.usual.get(deployment)
    if old is None:
        return replace(pool, usual={**pool.usual, deployment: used})
    new = Need(1, _nearer(old.prompt_tokens, used.prompt_tokens), _nearer(old.answer_tokens, used.answer_tokens))
    return replace(pool, usual={**pool.usual, deployment: new})


def heard(pool: Pool, terms: Terms, permit: Permit, told: Told, now_s: float) -> Pool:
    """With what the provider said of its limits for that key there; nothing where an edit has taken it away."""
    own = terms.own.get(permit.deployment)
    if own is None:
        return pool
    at = _at(permit.key, permit.deployment)
    old = pool.meters.get(at) or Meter(zone=own.day_zone)
    new = meter.heard(old, told, now_s)
    return pool if new == old else replace(pool, meters={**pool.meters, at: new})


def without_dead(pool: Pool, is_alive: Callable[[int], bool], now_s: float) -> Pool:
    """Without the holds of processes that have ended, and of requests that cannot run any more."""
    meters = {}
    for at, each in pool.meters.items():
        gone = frozenset(hold.name for hold in each.holds if now_s > hold.until_s or not is_alive(hold.pid))
        if gone:
            meters[at] = meter.without(each, gone)
    return replace(pool, meters={**pool.meters, **meters}) if meters else pool


def _turn(pool: Pool, key: Key, wish: Wish, now_s: float) -> Turn:
    wait_s, why, left_share, for_all = 0.0, "", 1.0, False
    for at, ahead in ((key.id, wish.ahead), (_at(key, wish.deployment), wish.ahead_here)):
        each = pool.meters.get(at)
        if each is None:
            continue
        each_s, each_why = meter.wait_s(each, wish.need, now_s, ahead)
        left_share = min(left_share, meter.left_share(each, now_s))
        if each_s > wait_s:
            wait_s, why = each_s, each_why
        for_all = for_all or (each_s > 0 and at == key.id)
    return Turn(key, wait_s, why, left_share, for_all)


def _soonest(turn: Turn) -> tuple[float, float]:
    return turn.wait_s, -turn.left_share


def _part(ahead: Need, count: int) -> Need:
    return Need(math.ceil(ahead.requests / count), ahead.prompt_tokens / count, ahead.answer_tokens / count)


def _at(key: Key, deployment: str) -> str:
    return f"{key.id} {deployment}"


def _changed(pool: Pool, permit: Permit, change: Callable[[Meter], Meter]) -> Pool:
    ats = (permit.key.id, _at(permit.key, permit.deployment))
    meters = {at: change(pool.meters[at]) for at in ats if at in pool.meters}
    return replace(pool, meters={**pool.meters, **meters}) if meters else pool


def _nearer(old: float, new: float) -> float:
    return old + WEIGHT * (new - old)
