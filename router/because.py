"""Why a target stands where it stands in a Decision, in words. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import msgspec

from router.ask import Ask
from router.routing.fleet import Place, Target
from router.routing.forecast import forecast, need_of
from router.routing.gate import Decision
from router.routing.passing import Money, ease, ill, is_affordable
from router.routing.policy import NO_PAST
from router.routing.ranking import Past, Ranked, ShutOut
from router.routing.terms import Terms

LOCAL = Place.LOCAL
# By target: the weighted sum and each strategy's figure, where several were compared.
Scores = Mapping[str, tuple[float, dict[str, float]]]


class Moment(msgspec.Struct, frozen=True):
    """What counts besides the Ask, the Fleet and the rules. `through` says what becomes of a Decision at its gate."""

    money: Money
    past: Past = NO_PAST
    through: Callable[[Ask, Decision], Decision] | None = None


class Case(msgspec.Struct, frozen=True):
    """All that a Decision was made of. `scores` are of the targets that only a score tells apart."""

    ask: Ask
    terms: Terms
    order: Ranked
    decision: Decision
    moment: Moment
    scores: Scores = {}

    def place(self, target: Target) -> tuple[int, int]:
        """Its group and its place in the order."""
        return self.order.group_of(target), self.terms.position(target)

    def model(self, target: Target) -> str | None:
        """Which of the chain's models it serves."""
        chain = self.decision.chain
        mine = [model for model in chain if model in target.models] if chain else sorted(target.models)
        return mine[0] if mine else None


REASONS = {
    "tier": "its tier prefers it",
    "task": "its task and tier prefer it",
    "pinned": "its model was asked for by name",
    "affinity": "it has read the beginning of this prompt before",
    "spill": "the engine that goes before it would break the promise",
    "fallback": "who goes before it cannot serve now",
    "escalate": "the prompt is too long for who goes before it",
    "privacy": "the request may not leave this machine",
    "budget": "the money does not allow who goes before it",
}


def why_first(case: Case) -> str:
    """What its reason means."""
    kind, _, cause = case.decision.reason.partition(":")
    words = REASONS.get(kind, "")
    return f"{words} ({cause})" if kind in {"spill", "fallback"} else words


def why_behind(case: Case, at: int) -> str:
    """What puts it behind the one before it."""
    before, target = case.decision.targets[at - 1], case.decision.targets[at]
    where = case.order.targets.index
    if where(target) < where(before):
        return _why_overtaken(case, target)
    (group, position), (own_group, own_position) = case.place(before), case.place(target)
    if group != own_group:
        return _why_later_group(case, before, target)
    if position != own_position:
        return f'the order has "{case.terms.order[own_position]}" later'
    own, ahead = case.scores.get(target.name), case.scores.get(before.name)
    if own is not None and ahead is not None and own[0] > ahead[0]:
        return f"score {own[0]:.2f}, and {ahead[0]:.2f} before it"
    return "as good, and asked after it"


def _why_later_group(case: Case, before: Target, target: Target) -> str:
    model, ahead = case.model(target), case.model(before)
    if not case.decision.chain:
        return f"not of the size {case.ask.size}" if case.ask.size else "stands in"
    return f"{model} comes after {ahead}"


def _why_overtaken(case: Case, target: Target) -> str:
    """It would have gone before, were it well, had it room, or did it keep the promise."""
    kind, _ = ease(case.ask, target, case.terms.ttft_target_s)
    cause = ill(case.ask, target)
    if cause is not None:
        return f"failed of late: {cause}"
    if kind:
        return f"its limits let it in after {target.room.ready_in_s:.1f} s ({target.room.why})"
    expected = forecast(target, need_of(case.ask, target, case.terms.now_s))
    promise = f"promised are {case.terms.ttft_target_s:g} s"
    if math.isinf(expected.ttft_s):
        return f"its telemetry is old, so it counts as full; {promise}"
    return f"it has no room in time; {promise} ({case.decision.reason})"


def why_not_now(case: Case, target: Target) -> str:
    if target.off is not None:
        return f"off: {target.off}"
    if target.place is not LOCAL and not is_affordable(case.ask, target, case.moment.money):
        return "budget: it could cost more than is left"
    if math.isinf(target.room.ready_in_s):
        return f"its limits never let this in ({target.room.why})"
    return "the wait there is too long"


def why_shut_out(case: Case, out: ShutOut) -> str:
    if out.rule is None:
        return f"the order names it nowhere: {', '.join(case.terms.order)}"
    name, lack = out.rule.no.removeprefix(": ").removesuffix(" no"), out.rule.lack
    return name if lack is None else f"{name}: {lack.words(case.ask, out.target)}"
