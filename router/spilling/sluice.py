"""Who is served here, who waits, and who goes to the cloud: for the engines of one model. Pure; the clock is passed in.

A request that fits goes to the engine at once. One that does not waits here, in the order in which promises end, and
not inside an engine: so it is placed late, where room has come. What decides that somebody goes to the cloud is how
long the wait will be, and it is decided as early as it is seen, because a cloud needs its time too.

- Where engines have been too full of late, those who save least for each second of an engine (`worth`) do not wait at
  all: as large a share of the work as had to go lately.
- Where somebody in the line would be late, the one among those before it goes that is worth least for its room (Moore
  and Hodgson, 1968: the fewest late jobs; here weighed by price).
- Who goes is spilled, or, while the promise may still be broken for some (`misses`), served here as a filler: when
  nobody else waits, and not later than LATEST_S.

A prompt is kept back while reading it would break the promised time per token of those who decode, and while another
is still to be read: vLLM reads as many at once as it has, and only what waits here can still be decided about.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Hashable, Sequence

from router.spilling.demand import Demand
from router.spilling.guard import lost
from router.spilling.load import EngineLoad
from router.spilling.misses import Misses
from router.spilling.room import GROWTH_TOKENS, Freed, Pool, free_tokens, pooled
from router.spilling.sample import Sample
from router.spilling.standing import Standing
from router.spilling.stay import Stay
from router.spilling.twin import Twin
from router.spilling.want import Placed, Want, Why
from router.spilling.worth import Full, Price, Worth, full, worth

# Of a promise, so much is kept for what nobody foresees.
MARGIN_S = 0.25
# While so few tokens are still to be read at an engine, or for so few steps, one more prompt is sent: an engine plans a
# step or two ahead.
UNREAD_TOKENS, UNREAD_STEPS = 300, 2.5
# Of the share of the work that had to go of late, so much goes early.
AHEAD = 1.6
# Nobody goes early whose first token is expected before this, and all whose worth says so after that, of the promise.
NEVER_BEFORE, ALWAYS_AFTER = 0.2, 0.6
# Being read at once is no wait.
PROMPTLY_S, PROMPTLY = 0.25, 1.3
# Of those who decode, so many may be expected to break their promised time per token for one more prompt.
LOST = 0.04
# Fillers: how many, and how late.
FILLERS, LATEST_S = 30, 20.0
# What a call to the cloud takes before the cloud hears of it.
CALL_S = 0.05
# Room that even a short prompt takes.
LEAST_TOKENS = 50
# How long somebody waits before the line is looked at again, if nothing happens.
LOOK_S = 0.02
# Whether somebody will be late is reckoned again after this.
SHED_S = 0.06
# Engines whose forecast is renewed at one look, at most; the others serve a little longer.
RENEWED = 3


class Sluice:
    """One writer. `arrive`, then `decide` after all that came at one moment; what it says must be carried out."""

    def __init__(self, loads: Sequence[EngineLoad], twin: Twin, misses: Misses) -> None:
        self.loads, self.twin, self.misses = loads, twin, misses
        self.price_factor = 1.0
        self._freed = [Freed(load) for load in loads]
        self._line: list[Want] = []
        self._fillers: list[Want] = []
        self._placed: list[Placed] = []
        self._stays: dict[Hashable, tuple[Want, int, Stay]] = {}
        self._spilled: dict[Hashable, tuple[Want, float]] = {}
        self._demand = Demand()
        self._shed_s = 0.0
        self._full = Full(1e-4, 1e-6)

    # What happens.

    def worth(self, prompt_tokens: int, lengths: Sample, price: Price | None) -> Worth:
        """Of a request that has just come."""
        if price is None:
            seconds = self._full.seconds(prompt_tokens, lengths.mean, lengths.mean_square)
            return Worth(math.inf, seconds)
        return worth(prompt_tokens, lengths, self._full, price)

    def arrive(self, want: Want, now_s: float) -> None:
        """One more request."""
        self.misses.asked()
        self._demand.came(want, now_s)
        if not self._line and self._place(want, now_s):
            return
        pool = self._pool(now_s)
        before = sum(each.prompt_tokens for each in self._line)
        ttft_s = pool.ttft_s(before, GROWTH_TOKENS * len(self._line), want.prompt_tokens)
        if self._goes_early(want, ttft_s, pool):
            self._drop(want, now_s, pool)
            return
        insort(self._line, want, key=lambda each: each.due_s)
        self._shed(now_s, pool)

    def decide(self, now_s: float) -> list[Placed]:
        """Everybody whose place is decided by now. Empties what waits as far as there is room."""
        line = self._line
        while line and self._place(line[0], now_s):
            del line[0]
        if line:
            if now_s >= self._shed_s:
                self._shed(now_s, self._pool(now_s))
        elif self._fillers:
            self._fill(now_s)
        self._give_up(now_s)
        placed, self._placed = self._placed, []
        return placed

    def next_look_s(self, now_s: float) -> float:
        """When to decide again if nothing happens until then."""
        return now_s + LOOK_S if self._line or self._fillers else math.inf

    def began(self, key: Hashable, now_s: float) -> None:
        """A first token."""
        spilled = self._spilled.get(key)
        if spilled is not None:
            want, sent_s = spilled
            self.twin.learn(now_s - sent_s)
            self._judge(want, now_s)
            return
        want, engine, stay = self._stays[key]
        self.loads[engine].began(stay, now_s)
        self._judge(want, now_s)

    def ended(self, key: Hashable, tokens: int | None, now_s: float) -> None:
        """It is over; with so many tokens, where that is known."""
        if self._spilled.pop(key, None) is not None:
            return
        want, engine, stay = self._stays.pop(key)
        self.loads[engine].ended(stay, tokens, now_s)
        if stay.first_s is None or tokens is None or stay.first_s > want.due_s:
            return
        if now_s - stay.first_s > want.tpot_s * max(tokens - 1, 1):
            self.misses.missed()

    def left(self, key: Hashable, now_s: float) -> None:
        """Its client has gone."""
        self._line = [each for each in self._line if each.key != key]
        self._fillers = [each for each in self._fillers if each.key != key]
        if key in self._stays or key in self._spilled:
            self.ended(key, None, now_s)

    @property
    def waiting(self) -> int:
        """Who has no place yet."""
        return len(self._line) + len(self._fillers)

    # Who goes where.

    def _place(self, want: Want, now_s: float) -> bool:
        """At the engine with the least to read of those with room."""
        best: tuple[float, float, int] | None = None
        for engine, load in enumerate(self.loads):
            standing = load.standing(now_s)
            if self._has_room(load, standing, want):
                rank = (standing.unread_tokens, standing.read_tokens, engine)
                best = rank if best is None or rank < best else best
        if best is None:
            return False
        self._send(want, best[2], now_s, Why.FITS)
        return True

    def _has_room(self, load: EngineLoad, standing: Standing, want: Want) -> bool:
        prompt_tokens = want.prompt_tokens
        if (
            standing.unread_tokens + prompt_tokens > UNREAD_TOKENS
            and standing.unread_s > UNREAD_STEPS * standing.step_s
        ):
            return False
        if prompt_tokens > free_tokens(standing) and standing.all_sequences + standing.waiting:
            return False
        if not standing.fits(prompt_tokens):
            return False
        return not standing.sequences or lost(load, standing, want.tpot_s, prompt_tokens) <= LOST

    def _send(self, want: Want, engine: int, now_s: float, why: Why) -> None:
        lengths = want.lengths
        stay = self.loads[engine].sent(want.prompt_tokens, now_s, expected_tokens=lengths.mean, lengths=lengths)
        self._stays[want.key] = (want, engine, stay)
        self._placed.append(Placed(want, engine, why))

    def _goes_early(self, want: Want, ttft_s: float, pool: Pool) -> bool:
        """Whether it is of the work that saves least, as much of it as has had to go of late."""
        if not want.may_spill or ttft_s <= PROMPTLY * want.prompt_tokens * pool.token_s + PROMPTLY_S:
            return False
        share = ttft_s / want.ttft_s
        ramp = min(1.0, max(0.0, (share - NEVER_BEFORE) / (ALWAYS_AFTER - NEVER_BEFORE)))
        return self._demand.below(want.worth) < AHEAD * ramp * self._demand.gone_share

    def _shed(self, now_s: float, pool: Pool) -> None:
        """While somebody would be late, whoever is worth least for its room goes, of all up to that one."""
        self._shed_s = now_s + SHED_S
        while (late := self._first_late(now_s, pool)) is not None:
            going = [each for each in self._line[: late + 1] if each.may_spill]
            if not going:
                return
            least = min(going, key=lambda each: self._least_usd(each, now_s) / (each.prompt_tokens + LEAST_TOKENS))
            self._line.remove(least)
            self._drop(least, now_s, pool)

    def _first_late(self, now_s: float, pool: Pool) -> int | None:
        before = growth = 0.0
        for at, want in enumerate(self._line):
            if now_s + pool.ttft_s(before, growth, want.prompt_tokens) > want.due_s - MARGIN_S:
                return at
            before += want.prompt_tokens
            growth += GROWTH_TOKENS
        return None

    def _drop(self, want: Want, now_s: float, pool: Pool) -> None:
        """To the cloud, or to the fillers where breaking the promise costs less."""
        self._demand.went(want)
        if self._spill_usd(want, now_s) <= self._late_usd():
            why = Why.KV if pool.wait_s(want.prompt_tokens) > 0 else Why.TTFT
            self._spill(want, why, now_s)
        else:
            self._fillers.append(want)

    def _spill(self, want: Want, why: Why, now_s: float) -> None:
        self._spilled[want.key] = (want, now_s)
        self._placed.append(Placed(want, None, why))

    def _least_usd(self, want: Want, now_s: float) -> float:
        return min(self._spill_usd(want, now_s), self._late_usd())

    def _spill_usd(self, want: Want, now_s: float) -> float:
        late_share = self.twin.late_share(want.due_s - now_s - CALL_S)
        return self.price_factor * want.worth.usd + late_share * self._miss_usd()

    def _late_usd(self) -> float:
        return self._miss_usd() if len(self._fillers) < FILLERS else math.inf

    def _miss_usd(self) -> float:
        return self.misses.price(self._demand.usd_each, len(self._fillers))

    def _fill(self, now_s: float) -> None:
        """Nobody else waits: those that save most a second first."""
        for want in sorted(self._fillers, key=lambda each: -each.worth.usd_per_s):
            if self._place_filler(want, now_s):
                self._fillers.remove(want)

    def _place_filler(self, want: Want, now_s: float) -> bool:
        for engine, load in enumerate(self.loads):
            standing = load.standing(now_s)
            if not standing.unread_tokens and self._has_room(load, standing, want):
                self._send(want, engine, now_s, Why.LATE)
                return True
        return False

    def _give_up(self, now_s: float) -> None:
        """Fillers that have waited too long."""
        for want in [each for each in self._fillers if now_s - each.arrived_s >= LATEST_S]:
            self._fillers.remove(want)
            self._spill(want, Why.TTFT, now_s)

    # What is known.

    def _pool(self, now_s: float) -> Pool:
        standings = [load.standing(now_s) for load in self.loads]
        # Who was renewed is not old at the next look: then it is the turn of the others.
        renewed = 0
        for freed, standing in zip(self._freed, standings, strict=True):
            if renewed < RENEWED and freed.is_old(now_s):
                freed.renew(standing, now_s)
                renewed += 1
        capacity = standings[0].kv_capacity_tokens
        if capacity:
            self._full = full(standings[0].tempo, capacity, self._demand.tokens_each)
        return pooled(standings, self._freed)

    def _judge(self, want: Want, now_s: float) -> None:
        if now_s > want.due_s:
            self.misses.missed()
