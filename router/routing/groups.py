"""The targets that may serve an Ask, in groups: the first serves what was asked for, each later one stands in.

Pure. A target of a later group serves when nobody of those before it can.
"""

from __future__ import annotations

from collections.abc import Sequence

from router.ask import Ask
from router.routing.chain import stand_ins
from router.routing.fleet import Fleet, Place, Target
from router.tables.rules import Rules

# Members of an enumeration are slow to look up in it.
LOCAL = Place.LOCAL

# Its engines, its clouds.
Group = tuple[Sequence[Target], Sequence[Target]]


def chain_of(ask: Ask, fleet: Fleet, rules: Rules) -> tuple[str, ...]:
    """The models that may serve it, first to last; empty where any will do.

    Nobody stands in for a model that does not exist: whoever asked for it hears so.
    """
    if ask.model is None:
        return ()
    models = (ask.model, *ask.stand_ins)
    others = stand_ins(models, ask.tier, rules)
    return models + others if others and _exists(ask.model, fleet, rules) else models


def _exists(model: str, fleet: Fleet, rules: Rules) -> bool:
    return model in fleet.models or model in rules.chains or fleet.serves(model)


def group_of(targets: Sequence[Target]) -> Group:
    engines = [target for target in targets if target.place is LOCAL]
    return engines, [target for target in targets if target.place is not LOCAL]


def groups_of(ask: Ask, fleet: Fleet, chain: Sequence[str], rules: Rules) -> list[Group]:
    """The targets of each model of the chain, one that serves several of them only where it comes first.

    Where any model will do: all targets, those of the preferred size before the others, and in groups of their own,
    behind these, those that serve nothing but stand-ins of the tier.
    """
    if not chain:
        return _of_any_model(ask, fleet, rules)
    if len(chain) == 1:
        return [serving(fleet, chain[0])]
    groups: list[Group] = []
    taken: set[str] = set()
    for model in chain:
        engines, clouds = [[each for each in part if each.name not in taken] for part in serving(fleet, model)]
        taken.update([target.name for target in (*engines, *clouds)])
        groups.append((engines, clouds))
    return groups


def serving(fleet: Fleet, model: str | None) -> Group:
    """The targets of a model; None: all."""
    where, targets = fleet.where, fleet.targets
    if where is None:
        return group_of([target for target in targets if model is None or model in target.models])
    seats = where.get(model)
    return NOBODY if seats is None else (seats.engines(targets), seats.clouds(targets))


NOBODY: Group = ((), ())


def _of_any_model(ask: Ask, fleet: Fleet, rules: Rules) -> list[Group]:
    behind = stand_ins((), ask.tier, rules)
    if not behind and ask.size is None:
        return [serving(fleet, None)]
    liked: list[Target] = []
    others: list[Target] = []
    last: list[list[Target]] = [[] for _ in behind]
    for target in fleet.targets:
        if behind and target.models and target.models.issubset(behind):
            last[min(behind.index(model) for model in target.models)].append(target)
        elif ask.size is None or target.size == ask.size:
            liked.append(target)
        else:
            others.append(target)
    return [group_of(targets) for targets in (liked, others, *last)]
