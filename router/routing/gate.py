"""Before the engines that go first: whether they have room, a sluice says (`router.spilling`), and what follows from
that is said here. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import takewhile

import msgspec
from msgspec.structs import replace

from router.ask import Ask
from router.errors import ApiError
from router.routing.filters import Dropped, considered
from router.routing.fleet import Place, Target
from router.routing.forecast import QUEUE, is_timely
from router.routing.passing import BUDGET, Ease, Money, ease
from router.routing.ranking import Past, Rank, Ranked
from router.routing.reasons import SATURATED, why_no_spill, why_there
from router.routing.refusals import too_long_a_wait
from router.routing.terms import Terms

# Members of an enumeration are slow to look up in it.
LOCAL, CLOUD = Place.LOCAL, Place.CLOUD


class Decision(msgspec.Struct, frozen=True):
    """Where to try, in order, and why there. `refusal` is set when there is nowhere.

    `gate` is set where an engine goes first, which may have no room. `dropped` are the targets of its models that a
    filter forbids; `chain` these models (empty: any), so that who serves none of them can be named as well.
    `can_wait`: an engine of the tier's own, or a cloud that starts, may serve later what nobody serves now. `asleep` is
    the model by which one is wanted that is off and will be there; `prefers_it`: it would have gone there, were it
    awake. `turn` is what the decision counts for, where a strategy decides. `terms` are what it went by.
    """

    targets: Sequence[Target]
    reason: str
    refusal: ApiError | None = None
    gate: Gate | None = None
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


class Case(msgspec.Struct, frozen=True):
    """All that one decision is made of, once its targets are ranked."""

    ask: Ask
    terms: Terms
    money: Money
    ranked: Ranked
    past: Past

    def why(self, first: Target) -> str:
        return why_there(self.ask, self.ranked, first, self.terms, self.money, self.past)


class Gate(msgspec.Struct, frozen=True, eq=False):
    """Before the engines that go first: those of `model` that may serve it ("": of any), in the order of its strategy
    where `is_ordered`. `twin` is who serves it where they will not in time; None: nobody, and it waits. `can` are all
    who can serve it, the best first."""

    case: Case
    can: Sequence[Target]
    model: str
    engines: Sequence[Target]
    is_ordered: bool
    twin: Target | None


def at_gate(case: Case, can: Sequence[Target], model: str) -> Decision:
    """For the engines of the first one's rank, of `model`, or for who takes it instead where all of them are full."""
    first = can[0]
    rank = case.ranked.rank_of(first)
    engines = _able(case, rank, first)
    if not engines:
        # Stale telemetry counts as full, never as idle.
        elsewhere = _spilled(case, can, QUEUE)
        if elsewhere is not None:
            return elsewhere
        engines = tuple(rank.on)
    gate = Gate(case, can, model, engines, bool(case.terms.weights), _twin(case, can))
    return Decision(can, case.why(first), gate=gate, can_wait=first.returns_as is not None)


def _able(case: Case, rank: Rank, first: Target) -> Sequence[Target]:
    """The engines that can take it as easily as the first one: where that failed of late, all have."""
    on, at = rank if case.terms.weights else rank.on, _ease(case, first)
    there = [each for each in on if each.off is None and _ease(case, each) is at]
    return tuple([each for each in there if not each.stale and not _is_stuck(case, each)])


def _is_stuck(case: Case, target: Target) -> bool:
    """Somebody there has waited for longer than the promise and what is to be read there takes, though nobody is sent
    there who is not read at once."""
    flying = target.in_flight
    read_s = flying.unstarted_tokens / (target.pace.prefill_tokens_per_s * target.weight)
    return case.terms.now_s - flying.oldest_sent_at_s > case.terms.ttft_target_s + read_s


def _twin(case: Case, can: Sequence[Target]) -> Target | None:
    """Who would take it now if no engine of its own does."""
    preferred = _preferred_soon(case, can)
    return preferred[0] if preferred else next(_elsewhere(case, can, False), None)


def without(decision: Decision, names: Collection[str]) -> Decision:
    """The same for who must not go to these clouds."""
    if not names:
        return decision
    left = tuple([each for each in decision.targets if each.place is LOCAL or each.name not in names])
    gate = decision.gate
    if gate is not None:
        gate = replace(gate, can=left, twin=_twin(gate.case, left))
    return replace(decision, targets=left, gate=gate)


def let_in(decision: Decision, engine: Target, is_late: bool) -> Decision:
    """This engine takes it. `is_late`: only after the promise, as far as can be told."""
    gate = decision.gate
    assert gate is not None
    case = gate.case
    reason = decision.reason if engine is gate.can[0] else case.why(engine)
    if is_late and case.terms.may_spill:
        reason = _why_late(case, gate) or reason
    targets = gate.can if engine is gate.can[0] else _led_by((engine,), gate.can)
    return replace(decision, targets=targets, reason=reason, gate=None)


def _why_late(case: Case, gate: Gate) -> str | None:
    """Why nobody else takes it; None where it is of the few that may be late."""
    if gate.twin is None:
        return why_no_spill(case.ask, case.ranked, case.money)
    return BUDGET if case.money.price_factor > 1.0 else None


def spilled(decision: Decision, cause: str) -> Decision:
    """No engine of its own takes it in time."""
    gate = decision.gate
    assert gate is not None
    other = _spilled(gate.case, gate.can, cause)
    return replace(decision, gate=None) if other is None else _instead(decision, other)


def _spilled(case: Case, can: Sequence[Target], cause: str) -> Decision | None:
    """None where nobody else would take it now."""
    can_wait, preferred = can_return(can), _preferred_soon(case, can)
    if preferred:
        return Decision(_led_by(preferred, can), case.why(preferred[0]), can_wait=can_wait)
    others = tuple(_elsewhere(case, can, False))
    if not others:
        return None
    return Decision(_led_by(others, can), cause if case.terms.may_spill else SATURATED, can_wait=can_wait)


def turned_away(decision: Decision, wait_s: float, most_s: float) -> Decision:
    """It would wait too long: another `wait_s` seconds, `most_s` at most in all. A cloud that failed of late is better
    than a refusal."""
    gate = decision.gate
    assert gate is not None
    case, can = gate.case, gate.can
    others = tuple(_elsewhere(case, can, True))
    if others:
        reason = QUEUE if case.terms.may_spill else SATURATED
        return _instead(decision, Decision(_led_by(others, can), reason, can_wait=can_return(can)))
    refusal = too_long_a_wait(can[0], wait_s, most_s)
    # Where a cloud is about to be there a spill is worth the wait.
    can_wait = case.terms.may_spill and any([_starts(each) for each in case.ranked.targets])
    return _instead(decision, Decision((), decision.reason, refusal, can_wait=can_wait))


def _instead(decision: Decision, other: Decision) -> Decision:
    """The other one, with what both have in common."""
    return replace(
        decision,
        targets=other.targets,
        reason=other.reason,
        refusal=other.refusal,
        gate=None,
        can_wait=other.can_wait,
    )


def longest_wait_s(terms: Terms) -> float:
    """For local room, before a refusal."""
    return max(terms.max_wait_s, terms.ttft_target_s)


def _led_by(leaders: Sequence[Target], can: Sequence[Target]) -> tuple[Target, ...]:
    ahead = {id(each) for each in leaders}
    return (*leaders, *[each for each in can if id(each) not in ahead])


def _preferred_soon(case: Case, can: Sequence[Target]) -> Sequence[Target]:
    """Who would have gone before the first, and whose limits let the request in within the promise."""
    if can[0] in case.ranked.ranks[0]:
        # Nobody does: those of its own rank have no limits.
        return ()
    able = {id(each) for each in can}
    before = takewhile(lambda each: each is not can[0], case.ranked.targets)
    return [each for each in before if id(each) in able and _ease(case, each) is Ease.SOON]


def _elsewhere(case: Case, can: Sequence[Target], is_refused: bool) -> Iterator[Target]:
    """Where the request rather goes than wait for the first one, the best first.

    A cloud that failed of late or has no room is better than a refusal, but not better than a wait. An engine of a
    model that stands in must keep the promise; those of the same model have been compared with the first already. A
    tier that may not spill leaves only where it would be refused, and never for a cloud.
    """
    may_spill, ranks = case.terms.may_spill, case.ranked
    if not may_spill and not is_refused:
        return
    most = Ease.ILL if is_refused else Ease.SOON
    own: int | None = None
    for each in can:
        if each.place is CLOUD:
            if may_spill and _ease(case, each) <= most:
                yield each
        elif own is None:
            own = ranks.group_of(each)
        elif ranks.group_of(each) > own and _ease(case, each) is Ease.NOW and _keeps(case, each):
            yield each


def _keeps(case: Case, target: Target) -> bool:
    return is_timely(case.ask, target, case.terms.ttft_target_s, case.terms.now_s)


def _ease(case: Case, target: Target) -> Ease:
    return ease(case.ask, target, case.terms.ttft_target_s)[0]


def can_return(targets: Sequence[Target]) -> bool:
    return any([each.returns_as is not None or _starts(each) for each in targets])


def _starts(target: Target) -> bool:
    """Whether it is a cloud that will be there in a moment."""
    return target.starting and target.place is CLOUD
