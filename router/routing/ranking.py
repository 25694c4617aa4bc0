"""The targets of an Ask, the best first: by chain, then by the tier's order, then by its strategy. Pure.

Who is off is ranked behind who is not, because no figure says anything of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from operator import itemgetter

import msgspec

from router.ask import Ask
from router.routing.affinity import Affinity
from router.routing.filters import Filter, fits_all, sieve
from router.routing.fleet import Place, Target
from router.routing.groups import Group
from router.routing.scorers import Scene, score
from router.routing.terms import Terms
from router.tables.strategy import Strategy

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


class Measure(msgspec.Struct, frozen=True):
    """What targets of one rank are compared by: nothing in it changes, so they can be compared later as well."""

    ask: Ask
    terms: Terms
    scene: Scene


class Rank(msgspec.Struct, eq=False):
    """Targets of one group at one position of the order, which are all of one place. `targets` are as they came.

    A decision seldom looks past the best of them, so the others are put in order only when somebody does. `known` is
    who is on, with `sums` of their strategies' figures, `best` the first and `ordered` all of them, once asked for.
    """

    group: int
    position: int
    targets: Sequence[Target]
    measure: Measure
    known: Sequence[Target] | None = None
    sums: Sequence[float] = ()
    best: Target | None = None
    ordered: Sequence[Target] | None = None

    def __contains__(self, target: Target) -> bool:
        return target is self.best or target in self.targets

    def __iter__(self) -> Iterator[Target]:
        """The best first."""
        return iter(self.targets) if len(self.targets) == 1 else self._one_by_one()

    def _one_by_one(self) -> Iterator[Target]:
        if self.ordered is None and (best := self._find_best()) is not None:
            yield best
            yield from islice(self.order, 1, None)
        else:
            yield from self.order

    @property
    def order(self) -> Sequence[Target]:
        """All of them, the best first; who is off is behind all who are on, as they came."""
        if self.ordered is None:
            on = self.on
            order = self._by_figures(on) if len(on) > 1 else on
            self.ordered = order if len(on) == len(self.targets) else [*order, *self.off]
        return self.ordered

    @property
    def off(self) -> list[Target]:
        return [target for target in self.targets if target.off is not None]

    def _find_best(self) -> Target | None:
        """The first in order; None where nobody is on."""
        on = self.on
        if len(on) <= 1:
            return on[0] if on else None
        sums = self.sums
        if sums:
            least = min(sums)
            alike = [on[sums.index(least)]]
            if sums.count(least) > 1:
                alike = [target for target, each in zip(on, sums, strict=True) if each == least]
            best = min(alike, key=_work)
        else:
            works = _works(on)
            best = on[works.index(min(works))]
        self.best = best
        return best

    @property
    def on(self) -> Sequence[Target]:
        """Who is on, as they came. One alone needs no figures."""
        if self.known is None:
            on = self.known = [target for target in self.targets if target.off is None]
            weights = self.measure.terms.weights
            if weights and len(on) > 1:
                self.sums = score(weights, self.measure.ask, on, self.measure.scene)
        return self.known

    def _by_figures(self, on: Sequence[Target]) -> list[Target]:
        """By the sum of the strategies' figures, and among equals by work."""
        works = _works(on)
        figures = list(zip(self.sums, works, strict=True)) if self.sums else works
        return [on[at] for at in sorted(range(len(on)), key=figures.__getitem__)]


def _work(target: Target) -> float:
    """The tokens in flight there for what it can do. One token more than there are, so that of two that are idle the
    one that is slowed down comes last."""
    return (target.in_flight.promised_tokens + 1) / target.weight


def _works(targets: Sequence[Target]) -> list[float]:
    """As `_work` says, without a call for each."""
    return [(target.in_flight.promised_tokens + 1) / target.weight for target in targets]


class Ranked(msgspec.Struct, eq=False):
    """Targets that may serve, the best first, rank by rank; each is ranked when it is looked at. `width` is that of the
    order. `dropped` are by their group and position, `outside` by their group."""

    width: int
    ranks: list[Rank] = []
    dropped: list[ShutOut] = []
    outside: list[tuple[int, Sequence[Target]]] = []
    all: list[Target] | None = None

    def __iter__(self) -> Iterator[Target]:
        return chain.from_iterable(self.ranks)

    @property
    def targets(self) -> list[Target]:
        if self.all is None:
            self.all = [target for rank in self.ranks for target in rank.order]
        return self.all

    @property
    def shut_out(self) -> list[ShutOut]:
        """Those that a filter drops or the order names nowhere, group by group."""
        found = self.dropped + [
            ShutOut(group, self.width, None, target) for group, targets in self.outside for target in targets
        ]
        return sorted(found, key=lambda each: each.group)

    def rank_of(self, target: Target) -> Rank:
        """Raises ValueError where it is in none."""
        if len(self.ranks) == 1:
            return self.ranks[0]
        for rank in self.ranks:
            if target in rank:
                return rank
        raise ValueError(f"{target.name} is not ranked")

    def group_of(self, target: Target) -> int:
        return self.rank_of(target).group


def turn_of(ask: Ask, terms: Terms) -> tuple[str, str] | None:
    """Whose turn is counted; None where no strategy decides."""
    return (terms.tier, ask.model or "") if terms.weights else None


def ranked(ask: Ask, groups: Sequence[Group], terms: Terms, past: Past, plain_tokens: int = 0) -> Ranked:
    """Only what no filter drops and the order names, group by group. `plain_tokens` as the Fleet says."""
    result, measure = Ranked(len(terms.order)), Measure(ask, terms, scene_of(ask, terms, past))
    is_plain, has_home = fits_all(ask, plain_tokens), False
    for number, group in enumerate(groups):
        engines, clouds = group
        if not is_plain:
            engines, no_engines = sieve(ask, engines)
            if ask.relies and not has_home:
                has_home = any([terms.position(engine) < result.width for engine in engines])
            clouds, no_clouds = sieve(ask, clouds, has_home)
            result.dropped += [
                ShutOut(number, terms.position(target), rule, target) for rule, target in (*no_engines, *no_clouds)
            ]
        for position, targets in _by_position(engines, clouds, terms):
            if position < result.width:
                result.ranks.append(Rank(number, position, targets, measure))
            else:
                result.outside.append((number, targets))
    return result


def _by_position(
    engines: Sequence[Target], clouds: Sequence[Target], terms: Terms
) -> Sequence[tuple[int, Sequence[Target]]]:
    """Where there are any, in the order of the tier; those that it names nowhere are last."""
    if terms.named_at:
        alike: dict[int, list[Target]] = {}
        for target in (*engines, *clouds):
            alike.setdefault(terms.position(target), []).append(target)
        return sorted(alike.items(), key=itemgetter(0))
    here, away = (terms.local_at, engines), (terms.cloud_at, clouds)
    if not (engines and clouds):
        return (here,) if engines else (away,) if clouds else ()
    return (here, away) if terms.local_at < terms.cloud_at else (away, here)


def scene_of(ask: Ask, terms: Terms, past: Past) -> Scene:
    """What the scorers see of the past. It stays as it is now."""
    turn = turn_of(ask, terms)
    if turn is None:
        return NO_SCENE
    reads = ask.prefixes and terms.weights.get(Strategy.AFFINITY)
    return Scene(past.turns.get(turn, 0), past.affinity.about(ask.prefixes) if reads else NOTHING_READ)


NOTHING_READ = Affinity()
NO_SCENE = Scene(0, NOTHING_READ)
