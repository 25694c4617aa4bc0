"""The router's only mutable view of the world: newest snapshot, requests in flight, learned paces, lines for engines.

Single writer of all of it, synchronous, with the clock passed in. What it hands out is frozen. Where there are several
router processes, each has its own Watch, which adds what its siblings say they have in flight and have seen fail.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence

from engines.snapshot import Report, Snapshot
from ground.prices import PRICES, Listed
from router.account import Account, uses_by_url
from router.accounts import Accounts, describe, load_of
from router.ask import Ask
from router.contexts import contexts_of
from router.decided import Decided
from router.deployed import Deployed
from router.flight import Flight, Usage
from router.health.breaker import DEATHS, Fault
from router.health.ejection import Speed, outliers
from router.health.retries import Budget
from router.patience import CODES as OUT_OF_TIME
from router.pools import Pools
from router.quotas.room import Room
from router.registry import Away
from router.roster import Roster
from router.routing.affinity import Affinity
from router.routing.fleet import Fleet, Place, Target, standing, wanted_models
from router.routing.forecast import tokens_of
from router.routing.gate import Decision
from router.routing.passing import Money
from router.routing.policy import choose
from router.routing.ranking import Past
from router.samples import Samples
from router.siblings import Row, Siblings
from router.tables.rules import Rules
from router.ticket import Ticket
from router.wants import Arrival

__all__ = ["DECISIONS_KEPT", "Flight", "Usage", "Watch"]

DECISIONS_KEPT = 200
# Members of an enumeration are slow to look up in it.
LOCAL = Place.LOCAL


class Watch:
    """Newest snapshot, flights, paces, rests and lines. Without `siblings` this process is the whole router."""

    def __init__(
        self,
        rules: Rules,
        siblings: Siblings | None = None,
        environment: Mapping[str, str] = os.environ,
        prices: Mapping[str, Listed] = PRICES,
    ) -> None:
        self.decisions: deque[Decided] = deque(maxlen=DECISIONS_KEPT)
        # Read by anybody, changed by `obey`: the Fleet is built from them.
        self.rules = rules
        self._cloud_off: Mapping[str, Away] = {}
        self.deployed = Deployed(prices, environment)
        self._siblings = siblings
        self.retries = Budget()
        self._snapshot: Snapshot | None = None
        self._snapshot_at_s = -math.inf
        self._accounts = Accounts()
        self._wanted: Counter[str] = Counter()
        # Called when a target begins or ceases to take requests, and when other rules hold.
        self.on_change: Callable[[], object] = tuple
        # What the limits of providers leave, by target name: the same mapping as long as nothing has changed.
        self.rooms: Callable[[], Mapping[str, Room]] = dict
        self._turns: dict[tuple[str, str], int] = {}
        self._affinity = Affinity()
        # Refers to what goes on changing: who decides looks at it, and nobody else keeps it.
        self.past = Past(self._turns, self._affinity)
        self._roster = Roster(siblings)
        self._there: dict[str, tuple[bool, str | None]] = {}
        self.pools = Pools(siblings)
        self.samples = Samples()
        # Called when there may be room at an engine.
        self.on_room: Callable[[], object] = tuple
        self._stand()

    def __repr__(self) -> str:
        flights = sum(account.requests for account in self._accounts)
        return f"<Watch engines={len(self._snapshot.engines) if self._snapshot else 0} {flights=} {self.pools!r}>"

    def obey(self, rules: Rules) -> None:
        """These rules from now on. A method beside a plain attribute, because each request reads it four times."""
        self.rules = rules
        self._stand()
        self.on_change()

    @property
    def cloud_off(self) -> Mapping[str, Away]:
        """Why a cloud cannot be used now, by target name. Given whole, because the Fleet is built from it."""
        return self._cloud_off

    @cloud_off.setter
    def cloud_off(self, cloud_off: Mapping[str, Away]) -> None:
        self._cloud_off = dict(cloud_off)
        self._stand()

    @property
    def snapshot(self) -> Snapshot | None:
        return self._snapshot

    def snapshot_age_s(self, now_s: float) -> float:
        return now_s - self._snapshot_at_s

    def heard(self, snapshot: Snapshot, now_s: float) -> None:
        """An engine that is ready again starts without the rest that its last run was given."""
        off = {target.key for target, _ in self._roster.standing if target.off is not None}
        self._snapshot, self._snapshot_at_s = snapshot, now_s
        self._stand(off, now_s)
        self.samples.count(now_s)
        for target, account in self._roster.standing:
            if target.load is not None and account.load is not None:
                account.load.reported(target.load, now_s)
        self.on_room()

    def want(self, model: str) -> None:
        """A sleeping engine of this model could have served a request."""
        self._wanted[model] += 1

    def report(self, now_s: float, waiting: Mapping[str, int] | None = None) -> Report:
        """What the supervisor is told. Forgets who was wanted, because it is told once; `waiting` are still here."""
        wanted, self._wanted = self._wanted + Counter(waiting), Counter()
        sequence = self._snapshot.sequence if self._snapshot else 0
        return Report(sequence, uses_by_url(self._accounts, now_s), dict(wanted))

    def newest(self) -> tuple[Snapshot | None, float]:
        """The newest Snapshot and its age, for readers that have no clock of their own."""
        return self._snapshot, self.snapshot_age_s(time.monotonic())

    def now(self) -> Fleet:
        """The Fleet at this moment, for readers that have no clock of their own."""
        return self.view(time.monotonic())

    def view(self, now_s: float) -> Fleet:
        targets = self._roster.look(now_s, self._snapshot_at_s, self.rooms())
        return Fleet(
            targets, self._snapshot is not None, self._models, now_s, self._roster.where, self._roster.plain_tokens
        )

    def decide(self, ask: Ask, money: Money, now_s: float) -> Decision:
        decision = self.would(ask, money, now_s)
        # Names that nobody serves are no turns: there is no end of them.
        if decision.turn is not None and decision.targets:
            self._turns[decision.turn] = self._turns.get(decision.turn, 0) + 1
        return decision

    def would(self, ask: Ask, money: Money, now_s: float) -> Decision:
        """What `decide` would say; nothing is kept of it."""
        return choose(ask, self.view(now_s), self.rules, money, self.past)

    def expect(self, ask: Ask, decision: Decision, now_s: float) -> Decision:
        """What would become of it at the gate of its engines; nothing is kept of it."""
        if decision.gate is None:
            return decision
        return self.pools.expect(Arrival(ask, decision.gate, now_s, now_s), decision)

    def start(self, ask: Ask, target: Target, now_s: float, ticket: Ticket | None = None) -> Flight:
        """Count a request as in flight at `target`. Ends with `finish`, whatever happens. `ticket` says where it was
        placed, if it was."""
        account, siblings, load = self._accounts.of(target), self._siblings, target.load
        prompt, answer = tokens_of(ask, target)
        prompt_tokens = round(prompt)
        promised_tokens = prompt_tokens + round(answer)
        queued_tokens, held_tokens = account.unstarted_tokens + prompt_tokens, account.promised_tokens + promised_tokens
        if siblings is not None:
            others = siblings.others(target.key)
            queued_tokens += sum([row.unstarted_tokens for row in others])
            held_tokens += sum([row.promised_tokens for row in others])
        was_full = load is not None and held_tokens > load.kv_capacity_tokens
        streams, size_bytes = ask.stream, ask.prompt_bytes
        aboard = self.pools.board(ask, target, account.load, now_s, ticket)
        flight = Flight(
            account, target, aboard, streams, size_bytes, prompt_tokens, promised_tokens, queued_tokens, was_full, now_s
        )
        account.send(promised_tokens)
        if not account.is_calm:
            account.probe(now_s, self._others(account))
        if streams:
            account.wait(flight, prompt_tokens, now_s)
        else:
            account.wait_whole(flight)
        if ask.prefixes:
            self._affinity.seen(ask.prefixes, target.name)
        self._changed(account)
        return flight

    def first_token(self, flight: Flight, now_s: float) -> None:
        """The target works."""
        account, sent_at_s = flight.account, flight.sent_at_s
        flight.first_token_at_s = now_s
        if not account.is_calm:
            account.begin(sent_at_s, now_s - sent_at_s if flight.streams else None, now_s, self._others(account))
        account.prove(sent_at_s, now_s)
        account.wait_no_more(flight, flight.prompt_tokens)
        self.pools.began(flight.aboard, sent_at_s, now_s)
        self.samples.began(flight)
        self._changed(account)
        self.on_room()

    def finish(self, flight: Flight, usage: Usage | None, now_s: float, is_whole: bool = False) -> None:
        """Take a flight out of the count and, if the target said what it used, learn from it. `is_whole`: the answer
        came to its end, whether or not its target said what it used."""
        if flight.ended:
            return
        flight.ended = True
        account = flight.account
        account.end(flight.promised_tokens)
        self.pools.ended(flight.aboard, usage.completion_tokens if usage is not None else None, now_s)
        if flight.first_token_at_s is None:
            account.wait_no_more(flight, flight.prompt_tokens)
        else:
            if usage is not None:
                flight.teach(usage.prompt_tokens, usage.completion_tokens, now_s)
            if (is_whole or usage is not None) and not account.is_calm:
                account.complete(flight.sent_at_s, now_s, self._others(account))
        self._changed(account)
        self.on_room()

    def failed(self, flight: Flight, cause: str, retry_after_s: float | None, now_s: float) -> bool:
        """The target failed; what that means for those who come next is its breaker's business. Whether it is news."""
        account, has_begun = flight.account, flight.first_token_at_s is not None
        is_death = cause in DEATHS and not has_begun and flight.target.place is LOCAL
        fault = Fault(cause, flight.sent_at_s, retry_after_s, is_death, has_begun)
        if cause in OUT_OF_TIME and not has_begun:
            self.pools.was_silent(flight.aboard, flight.sent_at_s, now_s)
        is_news = account.fail(fault, now_s, self._others(account))
        self._changed(account)
        return is_news

    def has_left(self, target: Target) -> bool:
        """Whether a target that stood in the Fleet once takes no requests any more."""
        return not self._there.get(target.key, (False, None))[0]

    def shut_s(self, target: Target, now_s: float) -> float:
        """How much longer nobody should try a target after its failures."""
        account = self._accounts.of(target)
        return account.shut_s(now_s, self._others(account))

    def compare(self, now_s: float) -> None:
        """Who has become far slower than its like is passed over from now on. Called every few seconds."""
        speeds = {
            target.key: Speed(
                account.pace.answers, account.pace.ttft_p50_s, account.pace.tpot_p50_s, target.place, target.models
            )
            for target, account in self._roster.standing
            if target.off is None and account.is_calm
        }
        for key, limit_s in outliers(speeds).items():
            account = self._accounts.named(key)
            account.slow_down(limit_s, now_s, self._others(account))
            self._changed(account)

    def _others(self, account: Account) -> Sequence[Row]:
        return () if self._siblings is None else self._siblings.others(account.key)

    def _changed(self, account: Account) -> None:
        self._roster.touch(account)
        if self._siblings is not None:
            self._siblings.publish(account.key, account.row())

    def _revive(self, target: Target, account: Account, now_s: float) -> None:
        """It is another run of its engine, which has nothing to do yet."""
        account.revive(now_s, self._others(account))
        if account.load is not None:
            account.load = load_of(target, account.load.speeds)
        self._changed(account)

    def _stand(self, off: Collection[str] = (), now_s: float = 0.0) -> None:
        """Build all of the Fleet that requests do not change. Engines of these keys were off until now."""
        deployed = self.deployed
        deployed.find(self.rules, self._snapshot.models if self._snapshot else ())
        targets = standing(self._snapshot, self.rules, deployed.all, self._cloud_off, deployed.environment)
        self._models = wanted_models(self._snapshot)
        self.contexts = contexts_of(targets, self._snapshot)
        self._roster.stand(self._accounts.stand(targets))
        # The shortest that anybody promises: engines have one guard for all tiers.
        tpot_s = min([tier.tpot_target_s for tier in self.rules.tiers.values()], default=math.inf)
        for target, account in self._roster.standing:
            if target.key in off and target.off is None:
                self._revive(target, account, now_s)
            if account.load is not None:
                describe(account.load, target)
                account.load.decoding.promise(tpot_s)
        self.pools.stand(self._roster.standing, self.rules.tiers)
        self.samples.stand({target.key for target in targets})
        before, self._there = self._there, {each.key: (each.off is None, each.returns_as) for each in targets}
        if self._there != before:
            self.on_change()
