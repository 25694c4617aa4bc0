"""The engines of each model with the line before them: what the sluices say, and what they are told.

Belongs to `router.watch`: one writer, synchronous, the clock passed in. Every flight is told of here, whether a sluice
has placed it or not, because all of them take room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence

import msgspec

from router.account import Account
from router.ask import Ask
from router.routing.fleet import Place, Target
from router.routing.forecast import tokens_of
from router.routing.gate import Decision
from router.siblings import Row, Siblings
from router.spilling.accuracy import Errors
from router.spilling.lengths import Kind, Lengths
from router.spilling.load import EngineLoad
from router.spilling.misses import Misses
from router.spilling.sluice import Sluice
from router.spilling.stay import Stay
from router.spilling.twin import Twin
from router.spilling.want import Want
from router.tables.tier import Tier
from router.ticket import Ticket, settled
from router.wants import Arrival, kind_of, want_of

# Members of an enumeration are slow to look up in it.
CLOUD = Place.CLOUD
# Where no money is left nobody is let spend any; what costs nothing must not count as endless.
MOST_FACTOR = 1e6
# Below this share of its work a pool is not said to spill.
TOLD_SHARE = 0.005
# The lines of the workers, where they show each other what they have at targets.
LINE = "line/"
NO_LINE = Row()


class Aboard(msgspec.Struct, eq=False, gc=False):
    """What a flight is in its pool: `stay` at an engine, `ticket` where a sluice has placed it. `twin` is the cloud's,
    where it goes to one and its first token will be seen. Of several `answers` nobody tells how far each has come."""

    kind: Kind
    load: EngineLoad | None
    answers: int = 1
    stay: Stay | None = None
    ticket: Ticket | None = None
    twin: Twin | None = None


class Line(msgspec.Struct, frozen=True):
    """Who waits before the engines of a model: requests, their prompt tokens. Of the work of late `gone_share` found no
    room."""

    model: str
    waiting: int
    tokens: int
    gone_share: float


def _row(sluice: Sluice) -> Row:
    """Its line, as other lines see it."""
    return Row(requests=sluice.waiting, unstarted_tokens=sluice.line_tokens)


class Pools:
    """A Sluice for each model that was asked for, over the loads of its engines."""

    def __init__(self, siblings: Siblings | None) -> None:
        self.lengths = Lengths()
        self._siblings = siblings
        self._standing: Sequence[tuple[Target, Account]] = ()
        self._tiers: Mapping[str, Tier] = {}
        self._sluices: dict[str, Sluice] = {}
        self._engines: dict[str, dict[Hashable, EngineLoad]] = {}
        # What the other workers know of our lines.
        self._told: dict[str, Row] = {}
        self._misses: dict[str, Misses] = {}
        self._twins: dict[str, Twin] = {}
        # By cloud: how often one that was silent was called a second time.
        self.second_calls = Counter[str]()

    def __repr__(self) -> str:
        lines = ", ".join(f"{model or 'any'}={each.waiting}" for model, each in self._sluices.items())
        return f"<Pools {lines}>"

    # Engines and clouds.

    def stand(self, standing: Sequence[tuple[Target, Account]], tiers: Mapping[str, Tier]) -> None:
        """These targets and promises from now on. Of a tier that has gone, the last one holds for who is still here."""
        self._standing, self._tiers = standing, tiers
        for name, misses in self._misses.items():
            if name in tiers:
                misses.share = tiers[name].promise_share
        for model, sluice in self._sluices.items():
            self._place_engines(model, sluice)

    def misses_of(self, tier: str) -> Misses:
        """What is left of a tier's promise."""
        misses = self._misses.get(tier)
        if misses is None:
            known = self._tiers.get(tier)
            misses = self._misses[tier] = Misses() if known is None else Misses(known.promise_share)
        return misses

    def twin_of(self, target: Target) -> Twin:
        """How soon a cloud gives first tokens."""
        twin = self._twins.get(target.name)
        if twin is None:
            twin = self._twins[target.name] = Twin()
        return twin

    def _place_engines(self, model: str, sluice: Sluice) -> None:
        engines: dict[Hashable, EngineLoad] = {
            target.key: account.load
            for target, account in self._standing
            if account.load is not None and target.off is None and (not model or model in target.models)
        }
        self._engines[model] = engines
        sluice.stand(engines)

    def _sluice(self, model: str) -> Sluice:
        sluice = self._sluices.get(model)
        if sluice is None:
            sluice = self._sluices[model] = Sluice(self.misses_of)
            self._place_engines(model, sluice)
        return sluice

    # The line.

    def arrive(self, arrival: Arrival, again: bool = False) -> Ticket:
        """`again`: it was in a line before."""
        ticket = Ticket(arrival.gate.model)
        sluice = self._sluice(ticket.model)
        want = self._want(ticket, arrival, sluice)
        sluice.arrive(want, arrival.now_s, again)
        return ticket

    def decide(self, model: str, now_s: float) -> Sequence[Ticket]:
        """Whose place is decided by now."""
        sluice = self._sluices[model]
        if self._siblings is not None and sluice.waiting:
            self._look_around(model, sluice)
        found = []
        for placed in sluice.decide(now_s):
            ticket = placed.want.key
            assert isinstance(ticket, Ticket)
            ticket.placed = placed
            found.append(ticket)
        self._show(model, sluice)
        return found

    def expect(self, arrival: Arrival, decision: Decision) -> Decision:
        """What would become of one that came now. Nothing is kept of it."""
        ticket = Ticket(arrival.gate.model)
        sluice = self._sluice(ticket.model)
        ticket.placed = sluice.expect(self._want(ticket, arrival, sluice), arrival.now_s)
        return settled(decision, ticket, arrival.now_s)

    def withdraw(self, ticket: Ticket, now_s: float) -> None:
        """It goes where nobody has placed it, or nowhere."""
        if not ticket.is_used:
            ticket.is_used = True
            sluice = self._sluices[ticket.model]
            sluice.left(ticket, now_s)
            self._show(ticket.model, sluice)

    def is_waited_for(self, target: Target) -> bool:
        """Whether somebody waits for room at this engine."""
        return any(each.waiting and target.key in self._engines[model] for model, each in self._sluices.items())

    def lines(self) -> list[str]:
        """The models before whose engines somebody waits."""
        return [model for model, each in self._sluices.items() if each.waiting]

    def spilling(self, now_s: float) -> list[str]:
        """The models of which a part goes to clouds now, because there is no room."""
        return [line.model for line in self.shown(now_s) if line.gone_share > TOLD_SHARE]

    def shown(self, now_s: float) -> Iterator[Line]:
        """The line of each model that has engines, or that somebody waits for."""
        for model, each in self._sluices.items():
            if each.waiting or self._engines[model]:
                yield Line(model or "any", each.waiting, each.line_tokens, each.gone_share(now_s))

    def kept_shares(self) -> Iterator[tuple[str, float]]:
        """Of each tier that was asked for."""
        return ((tier, misses.kept_share) for tier, misses in self._misses.items())

    def errors(self) -> Iterator[tuple[str, Errors]]:
        """Of predicted first tokens, by engine."""
        for target, account in self._standing:
            if account.load is not None:
                yield target.name, account.load.accuracy.errors()

    def _want(self, ticket: Ticket, arrival: Arrival, sluice: Sluice) -> Want:
        """What it wants, with the sluice told all that counts besides."""
        self._look_around(ticket.model, sluice)
        sluice.price_factor = min(arrival.gate.case.money.price_factor, MOST_FACTOR)
        lengths = self.lengths.sample(kind_of(arrival.ask, arrival.prompt_tokens))
        cloud = arrival.gate.twin
        twin = self.twin_of(cloud) if cloud is not None and cloud.place is CLOUD else None
        return want_of(ticket, arrival, lengths, self._engines[ticket.model][arrival.first.key], twin, sluice.worth)

    def _look_around(self, model: str, sluice: Sluice) -> None:
        """What waits for the same engines elsewhere, and what other workers have there."""
        lines = list(self._lines_beside(model))
        sluice.beside(sum([row.unstarted_tokens for row in lines]), sum([row.requests for row in lines]))
        if self._siblings is None:
            return
        for key, load in self._engines[model].items():
            rows = self._siblings.others(str(key))
            load.beside(
                sum([row.requests - row.unstarted for row in rows]),
                sum([row.unstarted for row in rows]),
                sum([row.unstarted_tokens for row in rows]),
                sum([row.kv_tokens for row in rows]),
            )

    def _show(self, model: str, sluice: Sluice) -> None:
        """Its line to the other workers, where it is another than they know."""
        if self._siblings is not None:
            row = _row(sluice)
            if self._told.get(model, NO_LINE) != row:
                self._told[model] = row
                self._siblings.publish(LINE + model, row)

    def _lines_beside(self, model: str) -> Iterator[Row]:
        """The other lines here that wait for some of its engines, and those of other workers that wait for it."""
        engines = self._engines[model].keys()
        for other, sluice in self._sluices.items():
            if sluice.waiting and other != model and not engines.isdisjoint(self._engines[other]):
                yield _row(sluice)
        if self._siblings is not None:
            yield from self._siblings.others(LINE + model)

    # Flights.

    def board(self, ask: Ask, target: Target, load: EngineLoad | None, now_s: float, ticket: Ticket | None) -> Aboard:
        """A flight begins."""
        prompt_tokens = max(1, round(tokens_of(ask, target)[0]))
        # Who asks for vectors wants no answer, and is over as soon as one has been read.
        aboard = Aboard(kind_of(ask, prompt_tokens), load, max(ask.answers, 1))
        if ticket is not None and ticket.is_for(target):
            assert ticket.placed is not None
            ticket.is_used = True
            aboard.ticket, aboard.stay = ticket, ticket.placed.stay
        elif load is not None:
            lengths = self.lengths.sample(aboard.kind)
            aboard.stay = load.sent(prompt_tokens, now_s, lengths=lengths, shows_first=ask.stream)
        if target.place is CLOUD and ask.stream:
            aboard.twin = self.twin_of(target)
        return aboard

    def began(self, aboard: Aboard, sent_s: float, now_s: float) -> None:
        """Its first token has come, or a whole answer."""
        if aboard.twin is not None:
            aboard.twin.learn(now_s - sent_s)
        if aboard.ticket is not None:
            self._sluices[aboard.ticket.model].began(aboard.ticket, now_s)
        elif aboard.load is not None and aboard.stay is not None:
            aboard.load.began(aboard.stay, now_s)

    def was_silent(self, aboard: Aboard, sent_s: float, now_s: float) -> None:
        """Its cloud gave no first token in all that time, and nobody waits on."""
        if aboard.twin is not None:
            aboard.twin.outlasted(now_s - sent_s)

    def ended(self, aboard: Aboard, tokens: int | None, now_s: float) -> None:
        """With so many tokens, where it came to its end."""
        if tokens is not None:
            self.lengths.learn(aboard.kind, max(tokens // aboard.answers, 1))
            if aboard.answers > 1 and aboard.stay is not None and aboard.stay.shows_first:
                # Their sum says nothing of how fast one came.
                tokens = None
        if aboard.ticket is not None:
            self._sluices[aboard.ticket.model].ended(aboard.ticket, tokens, now_s)
        elif aboard.load is not None and aboard.stay is not None:
            aboard.load.ended(aboard.stay, tokens, now_s)
