"""Decide where one request goes. Pure: same Ask, Fleet, rules and past, same Decision.

`groups` are the targets of its models, `ranking` drops those that may not or cannot serve it and orders the rest,
`passing` says who is passed over now, `spill` whether the first engine would break the promise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile

import msgspec
from msgspec.structs import replace

from router.ask import Ask
from router.errors import ApiError
from router.routing.filters import Dropped, considered
from router.routing.fleet import Fleet, Place, Target
from router.routing.groups import chain_of, groups_of
from router.routing.lineup import Lineup
from router.routing.passing import BUDGET, Ease, Money, ease, easy_first, reserved_usd
from router.routing.ranking import Past, Ranked, ranked, turn_of
from router.routing.reasons import SATURATED, unheard, why_no_spill, why_there
from router.routing.refusals import nobody, nowhere, too_long_a_wait
from router.routing.spill import DEADLINE, Forecast, Need, forecast, judge, keeps, tokens_of
from router.routing.terms import Terms, terms_of
from router.tables.rules import Rules

__all__ = ["BUDGET", "Decision", "Latches", "Money", "Past", "choose", "need_of", "reserved_usd", "tokens_of"]

# Members of an enumeration are slow to look up in it.
LOCAL, CLOUD = Place.LOCAL, Place.CLOUD

Latches = Mapping[tuple[str, str], bool]


class Decision(msgspec.Struct, frozen=True):
    """Where to try, in order, and why there. `refusal` is set when there is nowhere.

    `spilling` is the new spill state per (target, tier), for the next decision. `dropped` are the targets of its models
    that a filter forbids; `chain` these models (empty: any), so that who serves none of them can be named as well.
    `can_wait`: an engine of the tier's own, or a cloud that starts, may serve later what nobody serves now. `asleep` is
    the model by which one is wanted that is off and will be there; `prefers_it`: it would have gone there, were it
    awake. `turn` is what the decision counts for, where a strategy decides. `terms` are what it went by.
    """

    targets: Sequence[Target]
    reason: str
    refusal: ApiError | None = None
    spilling: Latches = {}
    dropped: Dropped = ()
    chain: tuple[str, ...] = ()
    fleet: tuple[Target, ...] = ()
    can_wait: bool = False
    asleep: str | None = None
    prefers_it: bool = False
    turn: tuple[str, str] | None = None
    terms: Terms | None = None

    def considered(self) -> list[str]:
        """What became of those who are not among the targets, rule by rule."""
        return considered(self.dropped, self.chain, self.fleet)


NO_PAST = Past()


def choose(ask: Ask, fleet: Fleet, rules: Rules, spilling: Latches, money: Money, past: Past = NO_PAST) -> Decision:
    """Filter, rank by chain, order and strategy, then spill or not."""
    # Who keeps a Decision can still rank by it, and must not keep the body, which may be megabytes.
    ask = replace(ask, raw=b"")
    terms, chain = terms_of(ask, rules, fleet.now_s, money.stretch), chain_of(ask, fleet, rules)
    order = ranked(ask, groups_of(ask, fleet, chain, rules), terms, past, fleet.plain_tokens)
    if order.ranks:
        decision = _decide(_Case(ask, terms, money, order, past, spilling))
        if not fleet.complete:
            decision = replace(decision, reason=unheard(decision.reason, decision.targets, terms))
    else:
        refusal = nowhere(ask, fleet, order.shut_out, terms)
        decision = Decision((), ask.how, refusal, can_wait=_is_about_to_come(ask, fleet, terms))
    dropped = tuple([(each.rule, each.target) for each in order.dropped if each.rule]) if order.dropped else ()
    return replace(decision, dropped=dropped, chain=chain, fleet=fleet.targets, turn=turn_of(ask, terms), terms=terms)


class _Case(msgspec.Struct, frozen=True):
    """All that one decision is made of, once its targets are ranked."""

    ask: Ask
    terms: Terms
    money: Money
    ranked: Ranked
    past: Past
    spilling: Latches

    def why(self, first: Target) -> str:
        return why_there(self.ask, self.ranked, first, self.terms, self.money, self.past)


def _decide(case: _Case) -> Decision:
    ask, terms, ranks = case.ask, case.terms, case.ranked
    behind = easy_first(ask, ranks, case.money, terms.ttft_target_s)
    first = next(behind, None)
    if first is None:
        return _with_sleepers(Decision((), ask.how, nobody(ask, ranks.targets, case.money)), ranks)
    can = Lineup(first, behind)
    if first.place is CLOUD:
        return _with_sleepers(Decision(can, case.why(first)), ranks)
    is_spilling = case.spilling.get((first.name, terms.tier), False)
    cause = None
    if not keeps(ask, first, terms.ttft_target_s, terms.now_s, is_spilling):
        cause, expected = _judged(case, first)
    if cause is None:
        latches = {(first.name, terms.tier): False}
        decision = Decision(can, case.why(first), None, latches, can_wait=first.returns_as is not None)
        # Who stands in for a model that sleeps serves until it is awake.
        return _with_sleepers(decision, ranks) if ranks.group_of(first) else decision
    # A deadline is one request's own: it says nothing about the next one.
    latches = {} if cause == DEADLINE else {(first.name, terms.tier): terms.may_spill}
    refused = too_long_a_wait(first, expected.ttft_s, max(terms.max_wait_s, terms.ttft_target_s))
    return replace(_spill_or_wait(case, can, cause, refused), spilling=latches)


def _judged(case: _Case, target: Target) -> tuple[str | None, Forecast]:
    """Why this engine would break the promise, None if it would not; and what is expected of it."""
    terms = case.terms
    need = need_of(case.ask, target, terms)
    expected = forecast(target, need)
    return judge(target, need, expected, case.spilling.get((target.name, terms.tier), False)), expected


def need_of(ask: Ask, target: Target, terms: Terms) -> Need:
    """What the tier promises for the Ask, in the target's own tokens."""
    prompt_tokens, answer_tokens = tokens_of(ask, target)
    return Need(prompt_tokens, answer_tokens, terms.ttft_target_s, ask.deadline_s, terms.now_s)


def _spill_or_wait(case: _Case, can: Sequence[Target], cause: str, refused: ApiError | None) -> Decision:
    """The first of those who can would break the promise: another one goes before it, or the request waits there.

    `refused` is set if the wait there is too long as well.
    """
    first, may_spill, can_wait = can[0], case.terms.may_spill, _can_return(can)
    preferred = _preferred_soon(case, can)
    if preferred:
        return Decision(_led_by(preferred, can), case.why(preferred[0]), can_wait=can_wait)
    others = _elsewhere(case, can, refused is not None)
    if others:
        return Decision(_led_by(others, can), cause if may_spill else SATURATED, can_wait=can_wait)
    reason = (why_no_spill(case.ask, case.ranked, case.money) if may_spill else None) or case.why(first)
    if refused is None:
        return Decision(tuple(can), reason, can_wait=can_wait)
    # Where a cloud is about to be there a spill is worth the wait.
    return Decision((), reason, refused, can_wait=may_spill and any([_starts(each) for each in case.ranked.targets]))


def _led_by(leaders: Sequence[Target], can: Sequence[Target]) -> tuple[Target, ...]:
    ahead = {id(each) for each in leaders}
    return (*leaders, *[each for each in can if id(each) not in ahead])


def _preferred_soon(case: _Case, can: Sequence[Target]) -> Sequence[Target]:
    """Who would have gone before the first, and whose limits let the request in within the promise."""
    able = {id(each) for each in can}
    before = takewhile(lambda each: each is not can[0], case.ranked.targets)
    return [each for each in before if id(each) in able and _ease(case, each) is Ease.SOON]


def _elsewhere(case: _Case, can: Sequence[Target], is_refused: bool) -> Sequence[Target]:
    """Where the request rather goes than wait for the first one.

    A cloud that failed of late or has no room is better than a refusal, but not better than a wait. An engine of a
    model that stands in must keep the promise; those of the same model have been compared with the first already. A
    tier that may not spill leaves only where it would be refused, and never for a cloud.
    """
    terms, ranks = case.terms, case.ranked
    if not terms.may_spill and not is_refused:
        return ()
    own = ranks.group_of(can[0])
    later = {id(each) for rank in ranks.ranks if rank.group > own for each in rank.targets}
    most = Ease.ILL if is_refused else Ease.SOON
    found = []
    for each in can[1:]:
        if each.place is CLOUD:
            is_better = terms.may_spill and _ease(case, each) <= most
        else:
            is_better = id(each) in later and _ease(case, each) is Ease.NOW and _judged(case, each)[0] is None
        if is_better:
            found.append(each)
    return found


def _ease(case: _Case, target: Target) -> Ease:
    return ease(case.ask, target, case.terms.ttft_target_s)[0]


def _with_sleepers(decision: Decision, ranked: Ranked) -> Decision:
    """Of a decision for a cloud or for nobody: who else could serve later. Who sleeps is behind all of its rank."""
    before = ranked.rank_of(decision.targets[0]) if decision.targets else None
    asleep, prefers_it = None, True
    for rank in ranked.ranks:
        prefers_it = prefers_it and rank is not before
        asleep = next((each.returns_as for each in rank.off if each.returns_as), None)
        if asleep is not None:
            break
    can_wait = asleep is not None or any([_can_return(rank.targets) for rank in ranked.ranks])
    return replace(decision, can_wait=can_wait, asleep=asleep, prefers_it=prefers_it and asleep is not None)


def _can_return(targets: Sequence[Target]) -> bool:
    return any([each.returns_as is not None or _starts(each) for each in targets])


def _starts(target: Target) -> bool:
    """Whether it is a cloud that will be there in a moment."""
    return target.starting and target.place is CLOUD


def _is_about_to_come(ask: Ask, fleet: Fleet, terms: Terms) -> bool:
    """Whether the Ask wants a model of which only the engine is not known yet, as just after the supervisor's start."""
    models = fleet.models
    is_wanted = bool(models) if ask.model is None else not models.isdisjoint((ask.model, *ask.stand_ins))
    return is_wanted and terms.uses_engines and not any([each.place is LOCAL for each in fleet.targets])
