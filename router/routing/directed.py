"""What [[routes]] and [splits.*] make of an Ask, before anybody looks for a target. Pure: the clock comes in.

Never touched: privacy, money, deadline, and the model of a request that names it itself, unless the rule names that
very model.
"""

from __future__ import annotations

from msgspec.structs import replace

from router.ask import PINNED, Ask
from router.comparing.split import split_of
from router.routing.chain import stand_ins
from router.routing.condition import holds
from router.tables.route import Route
from router.tables.rules import Rules


def directed(ask: Ask, rules: Rules, at_unix_s: float) -> Ask:
    """The Ask after the first route whose condition holds, and then after its split."""
    if rules.routes:
        ask = _routed(ask, rules, at_unix_s)
    if rules.splits:
        ask = _split(ask, rules, at_unix_s)
    return ask


def _routed(ask: Ask, rules: Rules, at_unix_s: float) -> Ask:
    for route in rules.routes:
        if holds(route, ask, at_unix_s):
            return _along(ask, route)
    return ask


def _along(ask: Ask, route: Route) -> Ask:
    """Another model stands alone: its own chain stands in for it, and not what the preset would have taken."""
    model, models, size = ask.model, ask.stand_ins, ask.size
    if route.model is not None and (ask.how != PINNED or ask.model in route.models):
        model, models, size = route.model, (), None
    return replace(
        ask,
        tier=route.tier or ask.tier,
        model=model,
        stand_ins=models,
        size=size,
        order=route.order or (),
        strategy=ask.strategy if route.strategy is None else route.strategy,
        route=route.name,
    )


def _split(ask: Ask, rules: Rules, at_unix_s: float) -> Ask:
    """In a trial the models that would have served come next, so that nobody fails because of it."""
    arm = split_of(ask, rules, at_unix_s)
    if arm is None:
        return ask
    if arm.model is None or arm.model == ask.model:
        return replace(ask, arm=arm.label)
    before = _any_model(ask, rules) if ask.model is None else (ask.model, *ask.stand_ins)
    others = tuple([each for each in before if each != arm.model])
    return replace(ask, arm=arm.label, model=arm.model, stand_ins=others, size=None)


def _any_model(ask: Ask, rules: Rules) -> tuple[str, ...]:
    """Those of the tables, of which any would have served; who only stands in at its tier comes after them anyway."""
    named = [*rules.models]
    named += [name for server in rules.external.values() for name in server.models or ()]
    named += [name for cloud in rules.clouds.values() for name in cloud.serves]
    last = stand_ins((), ask.tier, rules)
    return tuple(dict.fromkeys([each for each in named if each not in last]))
