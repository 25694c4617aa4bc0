"""Decide where one request goes. Pure: same Ask, Fleet, rules and past, same Decision.

`groups` are the targets of its models, `ranking` drops those that may not or cannot serve it and orders the rest,
`passing` says who is passed over now. Before engines stands a `gate`.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from router.ask import Ask
from router.routing.fleet import Fleet, Place
from router.routing.gate import Case, Decision, at_gate, can_return
from router.routing.groups import chain_of, groups_of
from router.routing.lineup import Lineup
from router.routing.passing import Money, easy_first
from router.routing.ranking import Past, Ranked, ranked, turn_of
from router.routing.reasons import unheard
from router.routing.refusals import nobody, nowhere
from router.routing.terms import Terms, terms_of
from router.tables.rules import Rules

# Members of an enumeration are slow to look up in it.
LOCAL, CLOUD = Place.LOCAL, Place.CLOUD

NO_PAST = Past()


def choose(ask: Ask, fleet: Fleet, rules: Rules, money: Money, past: Past = NO_PAST) -> Decision:
    """Filter, and rank by chain, order and strategy."""
    # Who keeps a Decision can still rank by it, and must not keep the body, which may be megabytes.
    ask = replace(ask, raw=b"")
    terms, chain = terms_of(ask, rules, fleet.now_s, money.stretch), chain_of(ask, fleet, rules)
    order = ranked(ask, groups_of(ask, fleet, chain, rules), terms, past, fleet.plain_tokens)
    if order.ranks:
        decision = _decide(Case(ask, terms, money, order, past), chain)
        if not fleet.complete:
            decision = replace(decision, reason=unheard(decision.reason, decision.targets, terms))
    else:
        refusal = nowhere(ask, fleet, order.shut_out, terms)
        decision = Decision((), ask.how, refusal, can_wait=_is_about_to_come(ask, fleet, terms))
    dropped = tuple([(each.rule, each.target) for each in order.dropped if each.rule]) if order.dropped else ()
    return replace(decision, dropped=dropped, chain=chain, fleet=fleet.targets, turn=turn_of(ask, terms), terms=terms)


def _decide(case: Case, chain: Sequence[str]) -> Decision:
    ask, terms, ranks = case.ask, case.terms, case.ranked
    behind = easy_first(ask, ranks, case.money, terms.ttft_target_s)
    first = next(behind, None)
    if first is None:
        return _with_sleepers(Decision((), ask.how, nobody(ask, ranks.targets, case.money)), ranks)
    can = Lineup(first, behind)
    if first.place is CLOUD:
        return _with_sleepers(Decision(can, case.why(first)), ranks)
    rank = ranks.rank_of(first)
    decision = at_gate(case, can, chain[rank.group] if chain else "")
    # Who stands in for a model that sleeps serves until it is awake.
    return _with_sleepers(decision, ranks) if rank.group and decision.gate is not None else decision


def _with_sleepers(decision: Decision, ranked: Ranked) -> Decision:
    """Of a decision for a cloud or for nobody: who else could serve later. Who sleeps is behind all of its rank."""
    before = ranked.rank_of(decision.targets[0]) if decision.targets else None
    asleep, prefers_it = None, True
    for rank in ranked.ranks:
        prefers_it = prefers_it and rank is not before
        asleep = next((each.returns_as for each in rank.off if each.returns_as), None)
        if asleep is not None:
            break
    can_wait = asleep is not None or any([can_return(rank.targets) for rank in ranked.ranks])
    return replace(decision, can_wait=can_wait, asleep=asleep, prefers_it=prefers_it and asleep is not None)


def _is_about_to_come(ask: Ask, fleet: Fleet, terms: Terms) -> bool:
    """Whether the Ask wants a model of which only the engine is not known yet, as just after the supervisor's start."""
    models = fleet.models
    is_wanted = bool(models) if ask.model is None else not models.isdisjoint((ask.model, *ask.stand_ins))
    return is_wanted and terms.uses_engines and not any([each.place is LOCAL for each in fleet.targets])
