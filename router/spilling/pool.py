"""The engines of one model, as they stand at one moment: who of them has room, and when room will come."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping

from router.spilling.guard import lost
from router.spilling.line import Reach
from router.spilling.load import EngineLoad
from router.spilling.room import Forecast, Prospect, forecast
from router.spilling.standing import Standing
from router.spilling.want import Want
from router.spilling.worth import Full, full

# While so few tokens are still to be read at an engine, or for so few steps, one more prompt is sent: an engine plans a
# step or two ahead.
UNREAD_TOKENS, UNREAD_STEPS = 300, 2.5
# A first token may come so much later than expected, of what is expected: who is sent to an idle engine at the very end
# of its promise misses it every other time.
UNSURE = 1.06
# Of those who decode, so many may be expected to break their promised time per token for one more prompt.
LOST = 0.04
# Sequences whose ends are foreseen anew at one look, at most: the others serve a little longer.
RENEWED = 6
# Sets of engines that requests have named are remembered until there are so many.
SETS = 1000


class Pool:
    """One writer: its Sluice."""

    def __init__(self) -> None:
        self.loads: Mapping[Hashable, EngineLoad] = {}
        self._prospects: dict[Hashable, Prospect] = {}
        self._all: Reach = frozenset()
        self._reaches: dict[tuple[Hashable, ...], Reach] = {}
        self._forecasts: dict[Reach, Forecast] = {}
        self._forecast_s = self._renewed_s = -math.inf
        self._turn = 0

    def stand(self, loads: Mapping[Hashable, EngineLoad]) -> None:
        """These engines, from now on."""
        kept = {key: each for key, each in self._prospects.items() if self.loads[key] is loads.get(key)}
        self.loads = dict(loads)
        self._prospects = {key: kept.get(key) or Prospect(load) for key, load in loads.items()}
        self._all = frozenset(loads)
        self._reaches = {}
        self._forecasts = {}

    def reach(self, want: Want) -> Reach:
        """The engines here that may serve it: the same object for the same engines."""
        if not want.engines:
            return self._all
        found = self._reaches.get(want.engines)
        if found is None:
            if len(self._reaches) >= SETS:
                self._reaches.clear()
            found = self._all.intersection(want.engines)
            found = self._reaches[want.engines] = self._all if found == self._all else found
        return found

    def place(self, want: Want, now_s: float, taken: Collection[Hashable], idle: bool = False) -> Hashable | None:
        """The engine for it: with room, not `taken`, and where it must be `idle` with nothing to read."""
        prompt_tokens, cached, ranked = want.prompt_tokens, want.cached, []
        for at, key in enumerate(want.engines or self.loads):
            load = self.loads.get(key)
            if load is None or key in taken:
                continue
            _, unread_tokens, kv_tokens, spare_tokens = load.glance
            if prompt_tokens > spare_tokens or (idle and unread_tokens):
                continue
            rank = (0.0, 0.0) if want.keeps_order else (unread_tokens - cached.get(key, 0), kv_tokens)
            ranked.append((rank, at, key, load))
        ranked.sort()
        for _, _, key, load in ranked:
            standing, cached_tokens = load.standing(now_s), cached.get(key, 0)
            if not idle and _is_late(load, standing, want, cached_tokens, now_s):
                continue
            if _has_room(load, standing, want, cached_tokens):
                return key
        return None

    def is_known(self, reach: Reach) -> bool:
        """Whether there is an engine among these of which is known how fast it reads."""
        return any(not self.loads[key].speeds.is_guess for key in reach)

    @property
    def version(self) -> int:
        """How often something has happened at these engines."""
        return sum([load.version for load in self.loads.values()])

    def is_idle(self, taken: Collection[Hashable]) -> bool:
        """Whether an engine that is not `taken` has nothing to read."""
        return any(not load.glance.unread_tokens and key not in taken for key, load in self.loads.items())

    def likely(self, want: Want) -> Hashable | None:
        """The engine that would serve it, as it looks now: with the least to read; None where there is none."""
        keys = [key for key in want.engines or self.loads if key in self.loads]
        return min(keys, key=lambda key: self.loads[key].glance.unread_tokens, default=None)

    def full(self, tokens_each: float) -> Full | None:
        """What a full engine is like whose requests hold `tokens_each`: the first one, for all are of one model."""
        for load in self.loads.values():
            return full(load.speeds.tempo, load.kv_capacity_tokens, load.most_sequences, tokens_each)
        return None

    def forecast(self, reach: Reach, now_s: float) -> Forecast:
        """Of these engines together."""
        self.look(now_s)
        found = self._forecasts.get(reach)
        if found is None:
            # In the order of the pool, so that sums are the same each time.
            prospects = [each for key, each in self._prospects.items() if key in reach]
            found = self._forecasts[reach] = forecast(prospects)
        return found

    def changed(self) -> None:
        """Somebody was sent, or has gone: what was forecast at this moment is reckoned again."""
        self._forecast_s = -math.inf

    def look(self, now_s: float) -> None:
        """At what has changed."""
        if now_s == self._forecast_s:
            return
        self._forecast_s = now_s
        anew = False
        for prospect in self._prospects.values():
            anew |= prospect.look(now_s)
        if now_s > self._renewed_s:
            self._renewed_s = now_s
            anew |= self._renew(now_s)
        if anew:
            self._forecasts = {}

    def _renew(self, now_s: float) -> bool:
        """One engine after the other, each in its turn. Whether any was."""
        turns, left = list(self._prospects.values()), RENEWED
        for _ in turns:
            freed = turns[self._turn % len(turns)].freed
            left -= freed.renew(now_s, left)
            if left <= 0:
                break
            self._turn += 1
        return left < RENEWED


def _is_late(load: EngineLoad, standing: Standing, want: Want, cached_tokens: int, now_s: float) -> bool:
    """Whether its first token would come too late though it were sent now, as that of a very long prompt: then a cloud
    serves it better. Of an engine whose speed nobody knows yet nobody says so."""
    if not want.may_spill or load.speeds.is_guess:
        return False
    return now_s + UNSURE * standing.ttft_s(want.prompt_tokens, cached_tokens) > want.due_s


def _has_room(load: EngineLoad, standing: Standing, want: Want, cached_tokens: int) -> bool:
    if not standing.requests:
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
    if prompt_tokens > standing.free_tokens or not standing.fits(prompt_tokens):
        return False
    if not standing.sequences or want.tpot_s == math.inf:
        return True
    return lost(load, standing, want.tpot_s, prompt_tokens, cached_tokens) <= LOST
