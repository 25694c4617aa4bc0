"""The engines of one model, as they stand at one moment: who of them has room, and when room will come.

Every request may name its own engines. Those that wait for other engines are not before it, and those that wait for
some of the same are before it with as much of their work as these get.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

from router.spilling.guard import lost
from router.spilling.load import EngineLoad
from router.spilling.room import FIRST, Before, Forecast, Freed, forecast, free_tokens
from router.spilling.standing import Standing
from router.spilling.want import Want
from router.spilling.worth import Full, full

# While so few tokens are still to be read at an engine, or for so few steps, one more prompt is sent: an engine plans a
# step or two ahead.
UNREAD_TOKENS, UNREAD_STEPS = 300, 2.5
# Of those who decode, so many may be expected to break their promised time per token for one more prompt.
LOST = 0.04
# Engines whose forecast is renewed at one look, at most; the others serve a little longer.
RENEWED = 3
# Sets of engines that requests have named are remembered until there are so many.
SETS = 1000

Reach = frozenset[Hashable]


class Pool:
    """One writer: its Sluice. `others` wait for these engines elsewhere: behind other sluices, in other processes."""

    def __init__(self) -> None:
        self.loads: Mapping[Hashable, EngineLoad] = {}
        self.others = FIRST
        self._freed: dict[Hashable, Freed] = {}
        self._all: Reach = frozenset()
        self._reaches: dict[tuple[Hashable, ...], Reach] = {}
        self._forecasts: dict[Reach, Forecast] = {}
        self._forecast_s = -math.inf

    def stand(self, loads: Mapping[Hashable, EngineLoad]) -> None:
        """These engines, from now on."""
        kept = {key: freed for key, freed in self._freed.items() if self.loads[key] is loads.get(key)}
        self.loads = dict(loads)
        self._freed = {key: kept.get(key) or Freed(load) for key, load in loads.items()}
        self._all = frozenset(loads)
        self._reaches = {}
        self.changed()

    def changed(self) -> None:
        """Somebody was sent, or has gone: what was forecast at this moment is reckoned again."""
        self._forecast_s = -math.inf

    def reach(self, want: Want) -> Reach:
        """The engines here that may serve it."""
        if not want.engines:
            return self._all
        found = self._reaches.get(want.engines)
        if found is None:
            if len(self._reaches) >= SETS:
                self._reaches.clear()
            found = self._reaches[want.engines] = self._all.intersection(want.engines)
        return found

    def claimed(self, wants: Iterable[Want]) -> Reach:
        """The engines that these wait for."""
        found: Reach = frozenset()
        for want in wants:
            found |= self.reach(want)
            if len(found) == len(self._all):
                break
        return found

    def place(self, want: Want, now_s: float, taken: Collection[Hashable], idle: bool = False) -> Hashable | None:
        """The engine for it: with room, not `taken`, and where it must be `idle` with nothing to read."""
        best: tuple[tuple[float, float], Hashable] | None = None
        for key in want.engines or self.loads:
            load = self.loads.get(key)
            if load is None or key in taken:
                continue
            standing, cached_tokens = load.standing(now_s), want.cached.get(key, 0)
            if (idle and standing.unread_tokens) or not _has_room(load, standing, want, cached_tokens):
                continue
            if want.keeps_order:
                return key
            rank = (standing.unread_tokens - cached_tokens, standing.read_tokens)
            if best is None or rank < best[0]:
                best = (rank, key)
        return None if best is None else best[1]

    def likely(self, want: Want, now_s: float) -> Hashable | None:
        """The engine that would serve it, as it looks now: with the least to read; None where there is none."""
        keys = [key for key in want.engines or self.loads if key in self.loads]
        return min(keys, key=lambda key: self.loads[key].standing(now_s).unread_tokens, default=None)

    def full(self, tokens_each: float, now_s: float) -> Full | None:
        """What a full engine is like whose requests hold `tokens_each`: the first one, for all are of one model."""
        for load in self.loads.values():
            standing = load.standing(now_s)
            return full(standing.tempo, standing.kv_capacity_tokens, standing.most_sequences, tokens_each)
        return None

    def forecast(self, reach: Reach, now_s: float) -> Forecast:
        """Of these engines together."""
        if now_s != self._forecast_s:
            self._forecasts, self._forecast_s = {}, now_s
            self._renew(now_s)
        found = self._forecasts.get(reach)
        if found is None:
            # In the order of the pool, so that sums are the same each time.
            keys = [key for key in self.loads if key in reach]
            standings = [self.loads[key].standing(now_s) for key in keys]
            found = self._forecasts[reach] = forecast(standings, [self._freed[key] for key in keys])
        return found

    def _renew(self, now_s: float) -> None:
        # Who was renewed is not old at the next look: then it is the turn of the others.
        renewed = 0
        for key, freed in self._freed.items():
            if freed.is_old(now_s):
                freed.renew(self.loads[key].standing(now_s), now_s)
                renewed += 1
                if renewed == RENEWED:
                    return


class Ahead:
    """What is before each of a line, from its first on. `others` wait elsewhere, between those of the line."""

    def __init__(self, pool: Pool, line: Sequence[Want]) -> None:
        self._pool = pool
        self._sums: dict[Reach, list[float]] = {}
        # Who waits elsewhere waits between these, as many before each as it has of these before it.
        here = sum([want.prompt_tokens for want in line]) if pool.others.requests else 0
        self._more = 1.0 + pool.others.tokens / here if here else 1.0
        self._first = FIRST if line else pool.others

    def add(self, want: Want, reach: Reach) -> None:
        sums = self._sums.get(reach)
        if sums is None:
            sums = self._sums[reach] = [0.0, 0.0, 0.0]
        sums[0] += want.prompt_tokens
        sums[1] += want.fresh_tokens
        sums[2] += 1

    def of(self, reach: Reach) -> Before:
        """Before one that these engines may serve."""
        if not self._sums:
            return self._first
        tokens = fresh = requests = 0.0
        for other, sums in self._sums.items():
            share = 1.0 if other is reach else len(other & reach) / len(other) if other else 0.0
            tokens += share * sums[0]
            fresh += share * sums[1]
            requests += share * sums[2]
        more = self._more
        return Before(tokens * more, fresh * more, requests * more)


def _has_room(load: EngineLoad, standing: Standing, want: Want, cached_tokens: int) -> bool:
    if not (standing.all_sequences or standing.waiting or standing.others_waiting):
        # Nobody is there: it will not become better.
        return True
    prompt_tokens = want.prompt_tokens
    if load.is_opaque:
        return standing.ttft_s(prompt_tokens, cached_tokens) <= want.ttft_s
    if (
        standing.unread_tokens + prompt_tokens - cached_tokens > UNREAD_TOKENS
        and standing.unread_s > UNREAD_STEPS * standing.step_s
    ):
        return False
    if prompt_tokens > free_tokens(standing) or not standing.fits(prompt_tokens):
        return False
    if not standing.sequences or want.tpot_s == math.inf:
        return True
    return lost(load, standing, want.tpot_s, prompt_tokens, cached_tokens) <= LOST
