"""The targets of an Ask, the best first: by chain, then by the tier's order, then by its strategy. Pure.

Who is off is ranked behind who is not, because no figure says anything of it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

import msgspec

from router.ask import Ask
from router.routing.affinity import Affinity
from router.routing.filters import Filter, sieve
from router.routing.fleet import Place, Target
from router.routing.scorers import Scene, score
from router.routing.spill import late
from router.routing.terms import Terms

# So many are asked at once whether they keep the promise, after the first one alone, until one does.
ASKED_AT_ONCE = 8
# Members of an enumeration are slow to look up in it.
LOCAL = Place.LOCAL

# Of each tier and first model.
Turns = Mapping[tuple[str, str], int]


class Past(msgspec.Struct, frozen=True):
    """What earlier decisions have left: how many there were of each kind, and who has read what."""

    turns: Turns = {}
    affinity: Affinity = msgspec.field(default_factory=Affinity)


class ShutOut(msgspec.Struct, frozen=True):
    """A target that may not serve: because of a filter or, where that is None, of the tier's order."""

    group: int
    position: int
    rule: Filter | None
    target: Target


class Ranked(msgspec.Struct):
    """Targets that may serve, the best first; `starts` is where each group begins."""

    targets: list[Target]
    starts: list[int]
    shut_out: list[ShutOut]

    def group_of(self, target: Target) -> int:
        return bisect_right(self.starts, self.targets.index(target)) - 1 if len(self.starts) > 1 else 0


def turn_of(ask: Ask, terms: Terms) -> tuple[str, str] | None:
    """Whose turn is counted; None where no strategy decides."""
    return (terms.tier, ask.model or "") if terms.weights else None


def ranked(ask: Ask, groups: Sequence[Sequence[Target]], terms: Terms, past: Past, plain_tokens: int = 0) -> Ranked:
    """Only what no filter drops and the order names, group by group. `plain_tokens` as the Fleet says."""
    result = Ranked([], [], [])
    width, local_at, cloud_at, named_at = len(terms.order), terms.local_at, terms.cloud_at, terms.named_at
    for number, group in enumerate(groups):
        result.starts.append(len(result.targets))
        fit, dropped = sieve(ask, group, plain_tokens)
        alike: list[list[Target]] = [[] for _ in range(width + 1)]
        for target in fit:
            # As `Terms.position` says, without a call for each.
            at = local_at if target.place is LOCAL else cloud_at
            alike[terms.position(target) if named_at else at].append(target)
        if dropped:
            result.shut_out += [ShutOut(number, terms.position(target), rule, target) for rule, target in dropped]
        if outside := alike.pop():
            result.shut_out += [ShutOut(number, width, None, target) for target in outside]
        for targets in alike:
            result.targets += _best_first(ask, targets, terms, past) if len(targets) > 1 else targets
    return result


def scene_of(ask: Ask, terms: Terms, past: Past) -> Scene:
    """What the scorers would see of the past, were the Ask decided now."""
    turn = turn_of(ask, terms)
    return Scene(past.turns.get(turn, 0) if turn else 0, past.affinity)


def _best_first(ask: Ask, targets: list[Target], terms: Terms, past: Past) -> list[Target]:
    """Targets of the same rank."""
    on = [target for target in targets if target.off is None]
    off = [target for target in targets if target.off is not None] if len(on) < len(targets) else []
    if len(on) > 1:
        on = _timely_first(ask, _scored(ask, on, terms, past) if terms.weights else _least_busy(on), terms)
    return on + off


def _scored(ask: Ask, targets: Sequence[Target], terms: Terms, past: Past) -> list[Target]:
    """By the sum of the strategies' figures; among equals the least busy goes first."""
    sums = score(terms.weights, ask, targets, scene_of(ask, terms, past))
    figures = list(zip(sums, _works(targets), strict=True))
    return [targets[at] for at in sorted(range(len(targets)), key=figures.__getitem__)]


def _least_busy(targets: Sequence[Target]) -> list[Target]:
    """By the work of each for what it can do."""
    return [targets[at] for at in sorted(range(len(targets)), key=_works(targets).__getitem__)]


def _timely_first(ask: Ask, order: list[Target], terms: Terms) -> list[Target]:
    """Those that keep the promise go before the others, whatever else counts.

    Who keeps it is asked only until one does, which is mostly the first: behind that one the order stays as it is.
    """
    at, at_once = 0, 1
    while at < len(order):
        found = late(ask, order[at : at + at_once], terms.ttft_target_s, terms.now_s)
        if False in found:
            first = at + found.index(False)
            return order[first:] + order[:first] if first else order
        at, at_once = at + at_once, ASKED_AT_ONCE
    return order


def _works(targets: Sequence[Target]) -> list[float]:
    """The tokens in flight at each, for what it can do. One more than there are, so that of two that are idle the one
    that is slowed down comes last."""
    return [(target.in_flight.promised_tokens + 1) / target.weight for target in targets]
