"""Holes in what tiers promise of the cloud: one that may spill has nowhere to spill to, or no money. Pure.

A tier that says `may_spill = true` means it. One that leaves it out spills where it can: a model without a twin waits
for its engine there, as in a tier that may not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from router.routing.chain import models_of, stand_ins
from router.spots import CLOUD, LOCAL, Situation, Spot, inside
from router.tables.rules import Rules
from router.tables.tier import Tier

BUDGETS = ("cloud_usd_per_hour", "cloud_usd_per_day", "cloud_usd_per_month")


def spills_have_money(situation: Situation) -> Iterator[str]:
    """A budget of zero says never to spill, and `may_spill` says otherwise."""
    rules, limits = situation.rules, situation.rules.limits
    empty = [key for key in BUDGETS if getattr(limits, key) == 0]
    if not empty:
        return
    for name, tier in rules.tiers.items():
        paid = [spot.name for spot in _clouds(situation, tier.order, situation.spots) if _is_paid(situation, spot)]
        if paid and _may_leave(tier):
            yield (
                f"[limits]: {empty[0]}: with 0 dollars the tier {name} can use no cloud that costs anything"
                f" ({', '.join(paid)}). For a tier that never leaves write may_spill = false and"
                f' order = ["local"] in [tiers.{name}], for a cloud that is out of use off = true in its table; else'
                " give it dollars"
            )


def _may_leave(tier: Tier) -> bool:
    return tier.may_spill or tier.order[0].startswith(CLOUD)


def _is_paid(situation: Situation, spot: Spot) -> bool:
    prices = [each.price for each in situation.deployed if f"{CLOUD}/{each.name}" == spot.name]
    # A price that nobody knows is complained of elsewhere.
    return any(price is not None and (price.input_usd_per_mtok or price.output_usd_per_mtok) for price in prices)


def _clouds(situation: Situation, order: Sequence[str], spots: Sequence[Spot]) -> list[Spot]:
    """Those that the order allows and that nobody has turned off."""
    return [spot for spot in inside(order, spots) if spot.place == CLOUD and not spot.off]


def spills_have_twins(situation: Situation) -> Iterator[str]:
    """For each task of a tier that says it may spill, under each preset."""
    rules = situation.rules
    for name, tier in rules.tiers.items():
        if not tier.may_spill or "may_spill" not in tier.model_fields_set:
            continue
        if not any(place.startswith(CLOUD) for place in tier.order):
            places = ", ".join(tier.order)
            yield (
                f"[tiers.{name}]: may_spill: its order ({places}) names no cloud to spill to; add one to the order, or"
                " write may_spill = false"
            )
            continue
        for preset in dict.fromkeys([*rules.presets, rules.active_preset]):
            obeyed = rules.model_copy(update={"active_preset": preset})
            for task in [task for task, work in rules.tasks.items() if work.tier == name]:
                yield from _no_twin(situation, obeyed, name, task)


def _no_twin(situation: Situation, obeyed: Rules, name: str, task: str) -> Iterator[str]:
    """The sentence if the models of the task run here and none of them, nor who stands in for them, runs in a cloud of
    the tier's order that can do what the task needs."""
    tier, models, needs = obeyed.tiers[name], models_of(task, obeyed), frozenset(obeyed.tasks[task].needs)
    here = [model for model in models if any(spot.place == LOCAL for spot in situation.where(model))]
    if not here:
        return
    serving = [spot for model in (*models, *stand_ins(models, name, obeyed)) for spot in situation.where(model)]
    clouds = [spot for spot in inside(tier.order, serving) if spot.place == CLOUD]
    if any(spot.capabilities is None or spot.capabilities >= needs for spot in clouds):
        return
    model = here[0]
    if clouds:
        cannot = "; ".join(
            f"{spot.name} has no {', '.join(sorted(needs - (spot.capabilities or frozenset())))}"
            for spot in dict.fromkeys(clouds)
        )
        why = f"no cloud can do what the task {task} needs in place of {model}: {cannot}. Name one that can as its twin"
    else:
        why = f'no cloud serves {model} for the task {task}. Name its twin: twin = "<cloud>" in [models.{model}]'
    yield (
        f'[tiers.{name}]: may_spill: {why}, or serves = ["{model}"] in one of [clouds], or a fallback in'
        f" [chains.{model}]; or write may_spill = false"
    )
