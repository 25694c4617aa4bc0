"""Who is served here, who waits, and who goes to the cloud: for the engines of one model. Pure; the clock is passed in.

A request that fits goes to the engine at once. One that does not waits here, in the order in which promises end, and
not inside an engine: so it is placed late, where room has come. What decides that somebody goes to the cloud is how
long the wait will be, and it is decided as early as it is seen, because a cloud needs its time too.

- Where engines have been too full of late, those who save least for each second of an engine (`worth`) do not wait at
  all: as large a share of the work as had to go lately.
- Where somebody in the line would be late, the one among those before it goes that is worth least for its room (Moore
  and Hodgson, 1968: the fewest late jobs; here weighed by price).
- Who goes is spilled, or, while the promise may still be broken for some (`misses`) or where it may not spill, waits
  aside and is served here when nobody else waits: whoever may spill not later than LATEST_S, the others as long as they
  have patience. Then they are refused; or at once, where it is seen that patience will not do.

A prompt is kept back while reading it would break the promised time per token of those who decode, and while another
is still to be read: vLLM reads as many at once as it has, and only what waits here can still be decided about.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping

from router.spilling.demand import Demand
from router.spilling.foresight import beyond_s, refused, spilled, ttft_at_s, ttft_s, why_of
from router.spilling.load import EngineLoad
from router.spilling.misses import Misses
from router.spilling.outcomes import Outcomes
from router.spilling.pool import Pool
from router.spilling.room import Before, Forecast
from router.spilling.sample import Sample
from router.spilling.shedding import leaving
from router.spilling.tariff import Tariff
from router.spilling.waiting import Waiting
from router.spilling.want import Placed, Want, Why
from router.spilling.worth import Full, Price, Worth, worth

# Of the share of the work that had to go of late, so much goes early.
AHEAD = 1.6
# Nobody goes early whose first token is expected before this, and all whose worth says so after that, of the promise.
NEVER_BEFORE, ALWAYS_AFTER = 0.2, 0.6
# Being read at once is no wait.
PROMPTLY_S, PROMPTLY = 0.25, 1.3
# Of those who wait aside, so many are tried at one look.
TRIED = 30
# How long somebody waits before the line is looked at again, if nothing happens.
LOOK_S = 0.02
# Whether somebody will be late is reckoned again after this.
SHED_S = 0.06


class Sluice:
    """One writer. `arrive`, then `decide` after all that came at one moment; what it says must be carried out.

    `misses` of each tier: the same object every time. No engine stands here at first."""

    def __init__(self, misses: Callable[[str], Misses]) -> None:
        self._pool = Pool()
        self._outcomes = Outcomes(misses)
        self._demand = Demand()
        self._waiting = Waiting()
        self._tariff = Tariff(misses, self._demand, self._waiting.aside)
        self._placed: list[Placed] = []
        self._shed_s = -math.inf
        # What had happened at the engines when room was looked for last, and when it is looked for without that.
        self._seen, self._look_s = -1, -math.inf
        self._full = Full(1e-4, 1e-6)

    # What happens.

    def stand(self, loads: Mapping[Hashable, EngineLoad]) -> None:
        """The engines from now on; who is at one that has gone is ended or withdrawn by whoever knows."""
        self._pool.stand(loads)
        self._waiting.line.reach_again(self._pool.reach)
        # At the next look it is seen whom nobody can serve any more.
        self._shed_s = self._look_s = self._waiting.ends_s = -math.inf

    def beside(self, tokens: float, requests: int) -> None:
        """Prompts that wait elsewhere for the same engines: instead of what was said of them before."""
        self._waiting.line.others = Before(tokens, tokens, requests)

    def worth(self, prompt_tokens: int, lengths: Sample, price: Price | None) -> Worth:
        """Of a request that has just come."""
        if price is None:
            seconds = self._full.seconds(prompt_tokens, lengths.mean, lengths.mean_square)
            return Worth(math.inf, seconds)
        return worth(prompt_tokens, lengths, self._full, price)

    def arrive(self, want: Want, now_s: float, again: bool = False) -> None:
        """One more request; `again`: one that was here before."""
        if not again:
            self._demand.came(want, now_s)
            self._outcomes.asked(want)
        pool, line = self._pool, self._waiting.line
        at, reach = line.place_of(want), pool.reach(want)
        if self._send(want, now_s, Why.FITS, line.claimed(at)):
            return
        before, outlook = line.before(at, reach), pool.forecast(reach, now_s)
        if self._goes_early(want, ttft_s(pool, want, before, now_s), outlook):
            self._drop(want, now_s)
        elif (wait_s := beyond_s(pool, want, before, now_s)) is not None:
            self._refuse(want, wait_s)
        else:
            self._waiting.queue(want, reach)
            self._shed(now_s, at)

    def decide(self, now_s: float) -> list[Placed]:
        """Everybody whose place is decided by now. Empties what waits as far as there is room."""
        if self._waiting:
            self._look(now_s)
        if now_s >= self._waiting.ends_s:
            for want in self._waiting.over(now_s, self._is_lost):
                self._end(want, now_s)
        placed, self._placed = self._placed, []
        return placed

    def expect(self, want: Want, now_s: float) -> Placed:
        """What would become of it if it came now; nothing is kept."""
        pool, line = self._pool, self._waiting.line.copy()
        at, reach = line.place_of(want), pool.reach(want)
        engine = pool.place(want, now_s, line.claimed(at))
        if engine is not None:
            return Placed(want, engine, Why.FITS, None, ttft_at_s(pool, want, engine, now_s))
        before, outlook = line.before(at, reach), pool.forecast(reach, now_s)
        wait_s, refused_s = ttft_s(pool, want, before, now_s), beyond_s(pool, want, before, now_s)
        goes = self._goes_early(want, wait_s, outlook)
        line.insert(want, reach)
        if refused_s is None and (goes or want in leaving(line, pool, self._tariff, now_s, at)):
            if self._tariff.goes(want, now_s) or self._is_lost(want):
                return spilled(want, why_of(want, outlook), self._tariff.again_s(want, now_s))
            before = self._all_before(want)
            wait_s, refused_s = ttft_s(pool, want, before, now_s), beyond_s(pool, want, before, now_s)
            why = Why.LATE
        else:
            why = Why.FITS
        if refused_s is not None:
            return refused(want, refused_s)
        return Placed(want, pool.likely(want), why, None, wait_s)

    def next_look_s(self, now_s: float) -> float:
        """When to decide again if nothing happens until then."""
        return now_s + LOOK_S if self._waiting else math.inf

    def began(self, key: Hashable, now_s: float) -> None:
        """A first token."""
        if self._outcomes.began(key, now_s):
            self._pool.changed()

    def ended(self, key: Hashable, tokens: int | None, now_s: float) -> None:
        """It is over; with so many tokens, where that is known."""
        if self._outcomes.ended(key, tokens, now_s):
            self._pool.changed()

    def left(self, key: Hashable, now_s: float) -> None:
        """Its client has gone, or it is withdrawn."""
        self._waiting.leave(key)
        self._placed = [each for each in self._placed if each.want.key != key]
        self.ended(key, None, now_s)

    @property
    def waiting(self) -> int:
        """Who has no place yet."""
        return len(self._waiting)

    @property
    def line_tokens(self) -> int:
        """The prompts of those who have no place yet."""
        return self._waiting.tokens

    def gone_share(self, now_s: float) -> float:
        """Of the work of late, what could not be served here as promised."""
        return self._demand.gone_share if self._demand.is_of_late(now_s) else 0.0

    @property
    def price_factor(self) -> float:
        """How much a dollar counts."""
        return self._tariff.price_factor

    @price_factor.setter
    def price_factor(self, factor: float) -> None:
        self._tariff.price_factor = factor

    # Who goes where.

    def _look(self, now_s: float) -> None:
        """At those who wait. Nobody has found room since the last look where nothing has happened at any engine."""
        self._pool.look(now_s)
        version = self._pool.version
        if version != self._seen or now_s >= self._look_s:
            self._advance(now_s)
            self._fill(now_s)
            self._seen, self._look_s = self._pool.version, now_s + LOOK_S
        if now_s >= self._shed_s:
            self._shed_s = now_s + SHED_S
            self._full = self._pool.full(self._demand.tokens_each) or self._full
            self._shed(now_s, 0)

    def _advance(self, now_s: float) -> None:
        """The line, from its first on. Whoever waits keeps the engines that may serve it from all behind it."""
        line, taken, engines = self._waiting.line, set[Hashable](), len(self._pool.loads)
        at = 0
        while at < len(line.wants) and (not at or len(taken) < engines):
            if self._send(line.wants[at], now_s, Why.FITS, taken):
                line.pop(at)
            else:
                taken |= line.reaches[at]
                at += 1

    def _send(self, want: Want, now_s: float, why: Why, taken: Collection[Hashable]) -> bool:
        engine = self._pool.place(want, now_s, taken, idle=why is Why.LATE)
        if engine is None:
            return False
        load, expected_s = self._pool.loads[engine], ttft_at_s(self._pool, want, engine, now_s)
        stay = load.sent(
            want.prompt_tokens,
            now_s,
            cached_tokens=want.cached.get(engine, 0),
            lengths=want.lengths,
            predicted_ttft_s=expected_s,
            shows_first=want.shows_first,
        )
        self._pool.changed()
        self._outcomes.sent(want, load, stay)
        self._placed.append(Placed(want, engine, why, stay, expected_s))
        return True

    def _goes_early(self, want: Want, wait_s: float, outlook: Forecast) -> bool:
        """Whether it is of the work that saves least, as much of it as has had to go of late."""
        if not want.may_spill or wait_s <= PROMPTLY * want.fresh_tokens * outlook.token_s + PROMPTLY_S:
            return False
        share = wait_s / want.ttft_s
        ramp = min(1.0, max(0.0, (share - NEVER_BEFORE) / (ALWAYS_AFTER - NEVER_BEFORE)))
        return self._demand.below(want.worth) < AHEAD * ramp * self._demand.gone_share

    def _shed(self, now_s: float, since: int) -> None:
        for want in leaving(self._waiting.line, self._pool, self._tariff, now_s, since):
            self._drop(want, now_s)

    def _drop(self, want: Want, now_s: float) -> None:
        """To the cloud; or aside, where that costs less or it has to, unless its patience will not do for that."""
        if want.may_spill:
            self._demand.went(want)
        if self._tariff.goes(want, now_s) or self._is_lost(want):
            self._spill(want, now_s)
        elif not want.may_spill and (wait_s := beyond_s(self._pool, want, self._all_before(want), now_s)) is not None:
            self._refuse(want, wait_s)
        else:
            self._waiting.set_aside(want)

    def _spill(self, want: Want, now_s: float) -> None:
        why = why_of(want, self._pool.forecast(self._pool.reach(want), now_s))
        self._outcomes.spilled(want)
        self._placed.append(spilled(want, why, self._tariff.again_s(want, now_s)))

    def _refuse(self, want: Want, wait_s: float) -> None:
        self._outcomes.missed(want)
        self._placed.append(refused(want, wait_s))

    def _fill(self, now_s: float) -> None:
        """Where nobody else waits: those that save most a second first."""
        claimed = self._waiting.line.claimed(len(self._waiting.line.wants))
        if not self._pool.is_idle(claimed):
            return
        for want in self._waiting.aside.wants[:TRIED]:
            if self._send(want, now_s, Why.LATE, claimed):
                self._waiting.aside.remove(want)

    def _end(self, want: Want, now_s: float) -> None:
        if want.may_spill:
            self._spill(want, now_s)
        else:
            self._refuse(want, ttft_s(self._pool, want, self._all_before(want), now_s))

    def _is_lost(self, want: Want) -> bool:
        """No engine that stands may serve it, and the cloud may."""
        return want.may_spill and not self._pool.reach(want)

    def _all_before(self, want: Want) -> Before:
        return self._waiting.all_before(self._pool.reach(want), self._pool.reach)
