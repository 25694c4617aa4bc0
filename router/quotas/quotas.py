"""The one writer of what providers' limits leave: who may ask which deployment with which key, and when.

A star around one `Counter` for each provider. All workers of a router share the windows through files in its home.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from urllib.parse import quote

from router.ask import Ask
from router.errors import TargetUnavailable
from router.quotas.counter import Counter, Full
from router.quotas.learned import Told
from router.quotas.line import Rank
from router.quotas.meter import Need
from router.quotas.permit import Key, Permit
from router.quotas.pool import GONE, Terms
from router.quotas.room import Room
from router.quotas.shared import SharedPool
from router.registry import Deployment
from router.routing.fleet import Target
from router.routing.forecast import tokens_of
from router.tables.keys import engine_key

# What a target's refusal is called when its provider's limits leave no room: `fallback:quota`.
QUOTA = "quota"
# What is shown of the windows is so old at most, or a little older where it is being looked at anew.
FRESH_S = 0.05
OLD_S = 0.25
NO_ROOMS: Mapping[str, Room] = {}


class Quotas:
    """`folder` holds a file for each provider, made when it is first obeyed."""

    def __init__(self, folder: Path, environment: Mapping[str, str] = os.environ) -> None:
        self._folder = folder
        self._environment = environment
        self._counters: dict[str, Counter] = {}
        self._by_target: dict[str, Counter] = {}
        self._rooms: Mapping[str, Room] = NO_ROOMS
        self._parts: list[Mapping[str, Room]] = []
        self._fresh_until_s = math.inf
        self._looks = False

    def __repr__(self) -> str:
        return f"<Quotas {list(self._counters.values())}>"

    def obey(self, deployments: Iterable[Deployment]) -> None:
        """These bounds and keys from now on; what was used stays used."""
        by_provider: dict[str, list[Deployment]] = {}
        for each in deployments:
            by_provider.setdefault(each.provider, []).append(each)
        self._by_target = {}
        for provider, those in by_provider.items():
            terms = self._terms(those)
            counter = self._counters.get(provider)
            if counter is None:
                shared = SharedPool(self._folder / quote(provider, safe=""))
                counter = self._counters[provider] = Counter(provider, terms, shared, time.time)
            else:
                counter.obey(terms)
            self._by_target |= {f"cloud/{each.name}": counter for each in those if terms.keys[each.name]}
        for provider in self._counters.keys() - by_provider.keys():
            self._counters[provider].retire()
        # Without a cloud there is nothing to look at.
        self._fresh_until_s = -math.inf if self._by_target else math.inf
        self._rooms, self._parts = NO_ROOMS, []

    def rooms(self) -> Mapping[str, Room]:
        """By target name, of those that are not unbounded. The same object as long as nothing has changed.

        A decision is not kept waiting: it gets what was reckoned a moment ago, and the next one what has changed since.
        `take` is exact.
        """
        now_s = time.monotonic()
        if now_s < self._fresh_until_s:
            return self._rooms
        if now_s < self._fresh_until_s + OLD_S and (loop := _loop()) is not None:
            if not self._looks:
                self._looks = True
                loop.call_soon(self.look)
        else:
            self.look()
        return self._rooms

    def look(self) -> None:
        """Reckon the rooms anew, now: for who is not to be told what was a moment ago."""
        self._looks = False
        if not self._by_target:
            return
        self._fresh_until_s = time.monotonic() + FRESH_S
        now_s = time.time()
        parts = [counter.rooms(now_s) for counter in self._counters.values()]
        if len(parts) != len(self._parts) or any([new is not old for new, old in zip(parts, self._parts, strict=True)]):
            self._parts = parts
            self._rooms = {name: room for part in parts for name, room in part.items() if name in self._by_target}

    async def take(self, ask: Ask, target: Target, ttft_target_s: float, wait_s: float) -> Permit:
        """Leave to ask the target once; a shorter promise goes first. Raises TargetUnavailable where there is none
        within `wait_s`, at once if that is foreseen. Ends with `settle` or `give_back`, whatever happens."""
        counter = self._by_target.get(target.name)
        if counter is None:
            raise TargetUnavailable(target.name, "off", GONE.why, was_reached=False)
        now_s = time.time()
        deadline_at_s = math.inf if ask.deadline_s is None else now_s + ask.deadline_s
        need = Need(1, *tokens_of(ask, target))
        name = target.name.removeprefix("cloud/")
        try:
            return await counter.take(name, need, Rank(ttft_target_s, deadline_at_s), now_s + wait_s)
        except Full as full:
            raise _unavailable(target, full) from full

    def settle(self, permit: Permit, prompt_tokens: int, answer_tokens: int) -> None:
        """What the request really used."""
        self._counters[permit.provider].settle(permit, Need(1, prompt_tokens, answer_tokens))

    def give_back(self, permit: Permit, *, was_reached: bool) -> None:
        """It has used no tokens, and did not even count as a request unless the provider heard of it."""
        self._counters[permit.provider].settle(permit, Need(1 if was_reached else 0))

    def learn(self, permit: Permit, told: Told) -> None:
        """What the provider said of its limits in answer to it."""
        self._counters[permit.provider].learn(permit, told)

    def has_another(self, permit: Permit) -> bool:
        """Whether the pool has more than this key."""
        return self._counters[permit.provider].keys_of(permit.deployment) > 1

    def close(self) -> None:
        self._by_target, self._fresh_until_s = {}, math.inf
        for counter in self._counters.values():
            counter.close()

    def _terms(self, deployments: Iterable[Deployment]) -> Terms:
        those = tuple(deployments)
        keys = {each.name: tuple(self._keys(each)) for each in those}
        free = frozenset(each.name for each in those if each.price is not None and not each.price.usd(1, 1))
        return Terms(those[0].pool, keys, {each.name: each.own for each in those}, free)

    def _keys(self, deployment: Deployment) -> Iterable[Key]:
        """Two variables with the same key are one key."""
        found: dict[str, Key] = {}
        for env in deployment.key_envs:
            key = engine_key(env, self._environment)
            if key is not None:
                found.setdefault(_id(key), Key(_id(key), env))
        return found.values()


def _loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _id(key: str) -> str:
    """Tells keys apart in a file that must not hold them."""
    return blake2b(key.encode(), digest_size=8).hexdigest()


def _unavailable(target: Target, full: Full) -> TargetUnavailable:
    if full.why == GONE.why:
        return TargetUnavailable(target.name, "off", GONE.why, was_reached=False)
    if math.isinf(full.ready_in_s):
        # A longer wait does not help, another target may.
        return TargetUnavailable(target.name, QUOTA, f"it is more than {full.why} ever allows", None, True, False)
    message = f"room in {full.ready_in_s:.1f} s: {full.why}"
    return TargetUnavailable(target.name, QUOTA, message, full.ready_in_s, True, False)
