"""Holes in what stack.toml promises: a task without a model, a model without a place, a place without key or price.

Pure. `router.tables.checks` has judged by then what the tables say of each other. What is off by an explicit word
(`off`, or `optional` and no key) is no hole, unless the active preset has nothing else for a task.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from engines.snapshot import ModelView
from ground.prices import Listed
from router.overflow import spills_have_money, spills_have_twins
from router.registry import deployments, is_turned_off, provider_of
from router.routing.chain import models_of, stand_ins
from router.spots import LOCAL, Situation, Spot, inside, may_be_elsewhere, may_be_off, situation_of
from router.tables.checks import conditions, orders
from router.tables.keys import engine_key
from router.tables.route import Route
from router.tables.rules import Rules


def gaps(
    rules: Rules,
    models: Sequence[ModelView],
    prices: Mapping[str, Listed],
    environment: Mapping[str, str],
    is_open: bool = False,
) -> list[str]:
    """Each hole with table, key and how to mend it; empty when there is none. `models` are what is known of local ones.

    With `is_open` engines are used that no table names, so that only they know their models: then no model is missing.
    So it is where a server of `[external]` names none, or where no table says what runs here at all.
    """
    unnamed = not rules.models and not rules.external
    is_open = is_open or unnamed or any(each.models is None for each in rules.external.values())
    deployed = deployments(rules, models, prices, environment)
    situation = situation_of(rules, models, deployed, environment, is_open)
    # What holds for several presets or tasks is told once.
    return [*dict.fromkeys(gap for check in CHECKS for gap in check(situation))]


def _models_have_places(situation: Situation) -> Iterator[str]:
    """Every model that a table names runs somewhere."""
    if situation.is_open:
        return
    there = sorted(situation.by_model)
    for where, model in _named(situation.rules):
        if model not in situation.by_model:
            near = difflib.get_close_matches(model, there, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"there are: {', '.join(there) or 'none'}."
            yield (
                f'{where}: the model "{model}" runs nowhere; {hint} '
                f'Else give it a place: a table [models.{model}], or serves = ["{model}"] in one of [clouds]'
            )


def _named(rules: Rules) -> Iterator[tuple[str, str]]:
    """(where, model) of each model that a table names."""
    for name, preset in rules.presets.items():
        yield from _each(f"[presets.{name}]: default", preset.default or ())
        for task, models in preset.tasks.items():
            yield from _each(f"[presets.{name}.tasks]: {task}", models)
    for name, work in rules.tasks.items():
        yield from _each(f"[tasks.{name}]: model", (work.model,))
    chains = {f"[chains.{model}]": chain for model, chain in rules.chains.items()}
    for model in rules.chains:
        yield f"[chains.{model}]", model
    for where, table in (chains | {f"[tiers.{name}]": tier for name, tier in rules.tiers.items()}).items():
        yield from _each(f"{where}: fallbacks", table.fallbacks)
        yield from _each(f"{where}: emergency", table.emergency)
    for where, condition in conditions(rules):
        yield from _each(f"{where}: models", condition.models)
        yield from _each(f"{where}: model", (condition.model,))


def _each(where: str, models: Iterable[str | None]) -> Iterator[tuple[str, str]]:
    return ((where, model) for model in models if model is not None)


def _tiers_have_targets(situation: Situation) -> Iterator[str]:
    for name, tier in situation.rules.tiers.items():
        if not may_be_elsewhere(situation, tier.order) and not inside(tier.order, situation.spots):
            yield (
                f"[tiers.{name}]: order: there is no target at {_list(tier.order)}; "
                "add a model or a cloud that is, or name another place"
            )


def _tasks_have_models(situation: Situation) -> Iterator[str]:
    """Under every preset, not only under the active one: the night in which it is switched is too late. And along every
    route that may concern them."""
    rules = situation.rules
    for preset in dict.fromkeys([*rules.presets, rules.active_preset]):
        obeyed = rules.model_copy(update={"active_preset": preset})
        for task in rules.tasks:
            for way in _ways(situation, obeyed, task):
                yield from (hole for named in way.named for hole in _no_use(situation, way, *named))
                if preset == rules.active_preset:
                    yield from _all_off(situation, way)


def _engines_of_orders_exist(situation: Situation) -> Iterator[str]:
    """Those that stand beside others; an order without any target has been told of. `checks` looks for clouds."""
    there = sorted(spot.name for spot in situation.spots if spot.place == LOCAL)
    for where, order in orders(situation.rules):
        named = [place for place in order if place.startswith(f"{LOCAL}/")]
        if may_be_elsewhere(situation, named) or not inside(order, situation.spots):
            continue
        for place in named:
            if not inside((place,), situation.spots):
                near = difflib.get_close_matches(place, there, n=1)
                hint = f'did you mean "{near[0]}"?' if near else f"there are: {_list(there) or 'none'}"
                yield f'{where}: "{place}" does not exist; {hint}'


class Way(msgspec.Struct, frozen=True):
    """What counts for a task under one preset, along a route or none. Of each of the `named`, (words, spots),
    one spot must be of use; `others` stand in for them."""

    task: str
    needs: frozenset[str]
    order: tuple[str, ...]
    order_of: str
    named: Sequence[tuple[str, list[Spot]]]
    others: list[Spot]


def _ways(situation: Situation, obeyed: Rules, task: str) -> Iterator[Way]:
    work = obeyed.tasks[task]
    models, needs = models_of(task, obeyed), frozenset(work.needs)
    others = _spots(situation, stand_ins(models, work.tier, obeyed))
    order_of, named = f"the tier {work.tier} of the task {task}", _named_for(situation, obeyed, task, others)
    yield Way(task, needs, obeyed.tiers[work.tier].order, order_of, named, others)
    for route in obeyed.routes:
        # One that names a model which runs nowhere has been told of already.
        leads = route.model is None or bool(situation.where(route.model))
        if not leads or not _may_concern(route, task, work.tier, models):
            continue
        tier, where = route.tier or work.tier, f'[[routes]] "{route.name}"'
        order, order_of = route.order or obeyed.tiers[tier].order, f"the tier {tier}"
        standing = (route.model,) if route.model else models
        others = _spots(situation, stand_ins(standing, tier, obeyed))
        # Which models a task has has been judged already: along a route one of them must be of use.
        found = [*_spots(situation, standing), *others] if standing else _of_size(situation, work.size)
        words = f"{where}: {_list(standing) or 'any model'}, for the task {task},"
        yield Way(task, needs, order, "the route itself" if route.order else order_of, [(words, found)], others)


def _may_concern(route: Route, task: str, tier: str, models: Sequence[str]) -> bool:
    is_its = not route.models or not {*models}.isdisjoint(route.models)
    return is_its and task in (route.tasks or (task,)) and tier in (route.tiers or (tier,))


def _named_for(
    situation: Situation, obeyed: Rules, task: str, others: Sequence[Spot]
) -> Sequence[tuple[str, list[Spot]]]:
    """All models that a table names for this task must be of use to it. Of those that a preset names for all tasks one
    must be, or who stands in for them."""
    preset, models, table = obeyed.preset, models_of(task, obeyed), f"[presets.{obeyed.active_preset}"
    if not models:
        size = obeyed.tasks[task].size
        words = "" if size is None else f': size: a model of the size "{size}"'
        return [(f"[tasks.{task}]{words}", _of_size(situation, size))]
    if preset is not None and task not in preset.tasks and preset.default is not None:
        return [(f"{table}]: default: {_list(models)}", [*_spots(situation, models), *others])]
    key = f"[tasks.{task}]: model" if preset is None or task not in preset.tasks else f"{table}.tasks]: {task}"
    # One that runs nowhere has been told of already.
    return [(f"{key}: {model}", where) for model in models if (where := situation.where(model))]


def _spots(situation: Situation, models: Iterable[str]) -> list[Spot]:
    return [spot for model in models for spot in situation.where(model)]


def _of_size(situation: Situation, size: str | None) -> list[Spot]:
    return [spot for spot in situation.spots if size in (None, spot.size)]


def _no_use(situation: Situation, way: Way, where: str, spots: Sequence[Spot]) -> Iterator[str]:
    """The sentence if none of these may and can serve the task."""
    if may_be_elsewhere(situation, way.order):
        return
    within = inside(way.order, spots)
    if not within:
        there = f"it runs at {_list(spot.name for spot in spots)}" if spots else "it runs nowhere"
        yield (
            f"{where} has no place in the order of {way.order_of} ({_list(way.order)}); {there}. "
            "Give the task another tier or another model"
        )
    elif way.needs and not any(spot.capabilities is None or spot.capabilities >= way.needs for spot in within):
        can = "; ".join(f"{spot.name} can {', '.join(sorted(spot.capabilities or ()))}" for spot in within)
        hint = "Name a model that can, or add it to the capabilities of its table"
        yield f"{where}: the task {way.task} needs {_list(sorted(way.needs))}, and {can}. {hint}"


def _all_off(situation: Situation, way: Way) -> Iterator[str]:
    """The sentence if all places of a task are off on purpose."""
    spots = [spot for _, spots in way.named for spot in spots]
    within = inside(way.order, [*spots, *way.others])
    if within and not may_be_elsewhere(situation, way.order) and all(spot.off for spot in within):
        why = "; ".join(dict.fromkeys(f"{spot.name} is off ({spot.off})" for spot in within))
        yield f"[tasks.{way.task}]: has no place that is on: {why}. Turn one on, or switch active_preset"


def _places_have_keys(situation: Situation) -> Iterator[str]:
    """Every variable of every pool that a cloud draws from without saying that it may be empty."""
    rules, told = situation.rules, set[str]()
    for each in situation.deployed:
        cloud, provider = rules.clouds[each.name], provider_of(rules.clouds[each.name], rules)
        if may_be_off(cloud, provider):
            continue
        where = f"[clouds.{each.name}]" if provider is None else f"[providers.{each.provider}]"
        for key_env in each.key_envs:
            if engine_key(key_env, situation.environment) is None and key_env not in told:
                told.add(key_env)
                yield (
                    f"{where}: key_env: the variable {key_env} is not set (or holds what no header can); set it, or "
                    "write optional = true to go without, or off = true"
                )


def _places_have_prices(situation: Situation) -> Iterator[str]:
    """Nobody knows what a request would cost there, which is never zero."""
    for each in situation.deployed:
        cloud = situation.rules.clouds[each.name]
        if each.price is None and not is_turned_off(cloud, provider_of(cloud, situation.rules)):
            yield (
                f"[clouds.{each.name}]: the price of {each.model} is not known; set input_usd_per_mtok and "
                "output_usd_per_mtok, in dollars per million tokens (0 where nothing is paid)"
            )


def _list(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


Check = Callable[[Situation], Iterator[str]]
# In the order in which a reader wants to hear of them.
CHECKS: tuple[Check, ...] = (
    _models_have_places,
    _tiers_have_targets,
    _engines_of_orders_exist,
    _tasks_have_models,
    _places_have_keys,
    _places_have_prices,
    spills_have_twins,
    spills_have_money,
)
