"""Holes in what stack.toml promises: a task without a model, a model without a place, a place without key or price.

Pure. `router.tables.checks` has judged by then what the tables say of each other. What is off by an explicit word
(`off`, or `optional` and no key) is no hole, unless the active preset has nothing else for a task.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from engines.snapshot import ModelView
from router.clouds.prices import Listed
from router.registry import Deployment, deployments, is_turned_off, provider_of
from router.routing.chain import models_of, stand_ins
from router.tables.checks import conditions
from router.tables.cloud import Cloud
from router.tables.keys import engine_key
from router.tables.provider import Provider
from router.tables.rules import Rules

LOCAL, CLOUD = "local", "cloud"


class Spot(msgspec.Struct, frozen=True):
    """Somewhere a model runs, before anybody knows how it does. `engines` matches the names that its engines can have;
    `capabilities` is None where nobody has said what it can, `off` why it is off on purpose, None if it is not."""

    name: str
    place: str
    engines: str
    models: frozenset[str]
    size: str | None
    capabilities: frozenset[str] | None
    off: str | None = None


class Situation(msgspec.Struct, frozen=True):
    """All that the checks look at. `is_open`: engines serve models here of which the tables do not tell."""

    rules: Rules
    spots: tuple[Spot, ...]
    by_model: Mapping[str, list[Spot]]
    deployed: tuple[Deployment, ...]
    environment: Mapping[str, str]
    is_open: bool

    def where(self, model: str) -> list[Spot]:
        return self.by_model.get(model, [])


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
    spots = (*_local_spots(rules, models), *_cloud_spots(rules, deployed))
    by_model: dict[str, list[Spot]] = {}
    for spot in spots:
        for model in spot.models:
            by_model.setdefault(model, []).append(spot)
    situation = Situation(rules, spots, by_model, deployed, environment, is_open)
    return [gap for check in CHECKS for gap in check(situation)]


def _local_spots(rules: Rules, models: Sequence[ModelView]) -> Iterator[Spot]:
    can = {model.name: frozenset(model.capabilities) for model in models}
    for name, model in rules.models.items():
        # Its replicas are called name-2, name-3 ...
        engines = rf"{re.escape(name)}(-\d+)?"
        yield Spot(f"local/{name}", LOCAL, engines, frozenset({name}), model.size, can.get(name))
    for name, server in rules.external.items():
        engines = rf"{re.escape(name)}(-.+)?"
        yield Spot(f"local/{name}", LOCAL, engines, frozenset(server.models or ()), None, None)


def _cloud_spots(rules: Rules, deployed: Sequence[Deployment]) -> Iterator[Spot]:
    for each in deployed:
        cloud = rules.clouds[each.name]
        # Who has no price and has not said to be off is complained of elsewhere.
        off = each.off if _may_be_off(cloud, provider_of(cloud, rules)) else None
        engines = re.escape(each.name)
        yield Spot(f"cloud/{each.name}", CLOUD, engines, each.serves, each.size, each.capabilities, off)


def _may_be_off(cloud: Cloud, provider: Provider | None) -> bool:
    """By an explicit word."""
    return is_turned_off(cloud, provider) or cloud.optional or (provider is not None and provider.optional)


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
        if not _may_be_elsewhere(situation, tier.order) and not _inside(tier.order, situation.spots):
            yield (
                f"[tiers.{name}]: order: there is no target at {_list(tier.order)}; "
                "add a model or a cloud that is, or name another place"
            )


def _tasks_have_models(situation: Situation) -> Iterator[str]:
    """Under every preset, not only under the active one: the night in which it is switched is too late."""
    rules = situation.rules
    for preset in dict.fromkeys([*rules.presets, rules.active_preset]):
        obeyed = rules.model_copy(update={"active_preset": preset})
        for task in rules.tasks:
            served = _served(situation, obeyed, task)
            yield from (gap for where, spots in served for gap in _no_use(situation, obeyed, task, where, spots))
            if preset == rules.active_preset:
                yield from _all_off(situation, obeyed, task, [spot for _, spots in served for spot in spots])


def _served(situation: Situation, obeyed: Rules, task: str) -> list[tuple[str, list[Spot]]]:
    """(words, spots) of each model of a task: all those that a table names for this task must be of use to it. Of those
    that a preset names for all tasks alike one must be, or who stands in for them."""
    work, preset = obeyed.tasks[task], obeyed.preset
    models, table = models_of(task, obeyed), f"[presets.{obeyed.active_preset}"
    if not models:
        size = "" if work.size is None else f': size: a model of the size "{work.size}"'
        return [(f"[tasks.{task}]{size}", [spot for spot in situation.spots if work.size in (None, spot.size)])]
    if preset is not None and task not in preset.tasks and preset.default is not None:
        everybody = (*models, *stand_ins(models, work.tier, obeyed))
        spots = [spot for model in everybody for spot in situation.where(model)]
        return [(f"{table}]: default: {_list(models)}", spots)]
    key = f"[tasks.{task}]: model" if preset is None or task not in preset.tasks else f"{table}.tasks]: {task}"
    # One that runs nowhere has been told of already.
    return [(f"{key}: {model}", where) for model in models if (where := situation.where(model))]


def _no_use(situation: Situation, obeyed: Rules, task: str, where: str, spots: Sequence[Spot]) -> Iterator[str]:
    """The sentence if none of these may and can serve the task."""
    work = obeyed.tasks[task]
    order = obeyed.tiers[work.tier].order
    if _may_be_elsewhere(situation, order):
        return
    inside = _inside(order, spots)
    if not inside:
        there = f"it runs at {_list(spot.name for spot in spots)}" if spots else "it runs nowhere"
        yield (
            f"{where} has no place in the order of the tier {work.tier} of the task {task} ({_list(order)}); {there}. "
            "Give the task another tier or another model"
        )
    elif work.needs and not any(spot.capabilities is None or spot.capabilities >= {*work.needs} for spot in inside):
        can = "; ".join(f"{spot.name} can {', '.join(sorted(spot.capabilities or ()))}" for spot in inside)
        hint = "Name a model that can, or add it to the capabilities of its table"
        yield f"{where}: the task {task} needs {_list(work.needs)}, and {can}. {hint}"


def _all_off(situation: Situation, obeyed: Rules, task: str, spots: Sequence[Spot]) -> Iterator[str]:
    """The sentence if all places of a task are off on purpose."""
    work = obeyed.tasks[task]
    models, order = models_of(task, obeyed), obeyed.tiers[work.tier].order
    others = [spot for model in stand_ins(models, work.tier, obeyed) for spot in situation.where(model)]
    inside = _inside(order, [*spots, *others])
    if inside and not _may_be_elsewhere(situation, order) and all(spot.off for spot in inside):
        why = "; ".join(dict.fromkeys(f"{spot.name} is off ({spot.off})" for spot in inside))
        yield f"[tasks.{task}]: has no place that is on: {why}. Turn one on, or switch active_preset"


def _inside(order: Sequence[str], spots: Iterable[Spot]) -> list[Spot]:
    """Those that an order allows."""
    return [spot for spot in spots if any(_names(place, spot) for place in order)]


def _names(place: str, spot: Spot) -> bool:
    kind, _, engine = place.partition("/")
    return kind == spot.place and (not engine or re.fullmatch(spot.engines, engine) is not None)


def _may_be_elsewhere(situation: Situation, order: Sequence[str]) -> bool:
    """Whether an engine that no table tells of may serve."""
    return situation.is_open and any(place.startswith(LOCAL) for place in order)


def _places_have_keys(situation: Situation) -> Iterator[str]:
    """Every variable of every pool that a cloud draws from without saying that it may be empty."""
    rules, told = situation.rules, set[str]()
    for each in situation.deployed:
        cloud, provider = rules.clouds[each.name], provider_of(rules.clouds[each.name], rules)
        if _may_be_off(cloud, provider):
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
    _tasks_have_models,
    _places_have_keys,
    _places_have_prices,
)
