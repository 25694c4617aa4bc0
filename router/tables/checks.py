"""What one table of stack.toml says of another, checked: each check a small function of the Rules, in one list.

Pure. What needs the environment, prices or the models of the lock is checked by `router.gaps`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping

from router.clouds.kinds import KINDS, WINDOWS, kind_of
from router.tables.comparison import Shadow, Split
from router.tables.quota import Quota
from router.tables.route import Route
from router.tables.rules import Rules
from router.tables.strategy import Weights

Check = Callable[[Rules], Iterator[str]]
CLOUD = "cloud/"
# By difflib: "opnai" is as near to "openai" as 0.9, and litellm's "anthropic_text" to "anthropic" as 0.78.
NEARLY = 0.8
# One step of the smallest models on the fastest of GPUs, and the way through a router, take as long: less was meant in
# another unit, and every request would spill for nothing.
LEAST_TTFT_S = 0.005
# Of the requests for which a promise is kept: with fewer it is rather broken than kept. With more, not even two of
# those that are remembered (`router.spilling.misses`) might be late, and nobody could tell whether it is kept.
LEAST_SHARE, MOST_SHARE = 0.5, 0.9999
# What requests can need and models can do, beside what a model's own table in models.lock may call by other names.
CAPABILITIES = ("chat", "completion", "embeddings", "tools", "vision", "json_schema", "reasoning", "audio")


def complaints(rules: Rules) -> list[str]:
    """All that is wrong, each with table and key and how to mend it; empty when nothing is."""
    return [complaint for check in CHECKS for complaint in check(rules)]


def _default_tier_exists(rules: Rules) -> Iterator[str]:
    yield from _missing("[limits]: default_tier", rules.limits.default_tier, rules.tiers)


def _tiers_of_tasks_exist(rules: Rules) -> Iterator[str]:
    for name, task in rules.tasks.items():
        yield from _missing(f"[tasks.{name}]: tier", task.tier, rules.tiers)


def _clouds_of_orders_exist(rules: Rules) -> Iterator[str]:
    for where, order in orders(rules):
        for place in order:
            if place.startswith(CLOUD):
                yield from _missing(where, place.removeprefix(CLOUD), rules.clouds)


def _active_preset_exists(rules: Rules) -> Iterator[str]:
    if rules.active_preset is not None:
        yield from _missing("active_preset", rules.active_preset, rules.presets)


def _tasks_that_are_named_exist(rules: Rules) -> Iterator[str]:
    named = {f"[presets.{name}.tasks]": [*preset.tasks] for name, preset in rules.presets.items()}
    named |= {f"[jobs.{name}.tasks]": [*job.tasks] for name, job in rules.jobs.items()}
    for where, tasks in named.items():
        for task in tasks:
            yield from _missing(where, task, rules.tasks)
    for where, condition in conditions(rules):
        for task in condition.tasks:
            yield from _missing(f"{where}: tasks", task, rules.tasks)


def _tiers_that_are_named_exist(rules: Rules) -> Iterator[str]:
    for where, condition in conditions(rules):
        for tier in condition.tiers:
            yield from _missing(f"{where}: tiers", tier, rules.tiers)
    for route in rules.routes:
        if route.tier is not None:
            yield from _missing(f'[[routes]] "{route.name}": tier', route.tier, rules.tiers)


def _routes_have_names_of_their_own(rules: Rules) -> Iterator[str]:
    names = [route.name for route in rules.routes]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f'[[routes]]: two are called "{name}"; give each a name of its own, which the ledger shows'


def _comparisons_have_names_of_their_own(rules: Rules) -> Iterator[str]:
    for name in rules.shadows.keys() & rules.splits.keys():
        yield f"[shadows.{name}] and [splits.{name}] have the same name; rename one, or the ledger mixes them up"


def _conditions_can_hold(rules: Rules) -> Iterator[str]:
    for where, condition in conditions(rules):
        least, most = condition.prompt_tokens_from, condition.prompt_tokens_below
        if least is not None and most is not None and least >= most:
            yield f"{where}: no prompt has from {least} and below {most} tokens; correct one of them"


def _chains_have_no_loop(rules: Rules) -> Iterator[str]:
    """A model that stands in for itself, by whatever way, would be tried again after it has failed."""
    told: set[frozenset[str]] = set()
    for model in rules.chains:
        loop = _loop_from(model, rules)
        if loop and frozenset(loop) not in told:
            told.add(frozenset(loop))
            yield f"[chains.{model}]: a loop: {' -> '.join(loop)}; take one of these steps away"


def _loop_from(start: str, rules: Rules) -> list[str]:
    """The shortest way from a model back to it."""
    ways, seen = [[start]], set[str]()
    while ways:
        way = ways.pop(0)
        chain = rules.chains.get(way[-1])
        for model in (*chain.fallbacks, *chain.emergency) if chain else ():
            if model == start:
                return [*way, model]
            if model not in seen:
                seen.add(model)
                ways.append([*way, model])
    return []


def _some_weight_counts(rules: Rules) -> Iterator[str]:
    tables: dict[str, Weights | None] = {f"[tiers.{name}]": tier.strategy for name, tier in rules.tiers.items()}
    tables |= {f"[tasks.{name}]": task.strategy for name, task in rules.tasks.items()}
    tables |= {f'[[routes]] "{route.name}"': route.strategy for route in rules.routes}
    for where, weights in tables.items():
        if weights and not any(weights.values()):
            yield f"{where}: strategy: all weights are 0; give one a weight, or leave strategy out for least_busy"


def _needs_are_capabilities(rules: Rules) -> Iterator[str]:
    for name, task in rules.tasks.items():
        for need in task.needs:
            yield from _missing(f"[tasks.{name}]: needs", need, CAPABILITIES)


def _kinds_are_spelt_right(rules: Rules) -> Iterator[str]:
    """litellm knows some hundred providers; only what is nearly one of the usual ones must be meant to be it."""
    for name, cloud in rules.clouds.items():
        near = difflib.get_close_matches(cloud.kind, KINDS, n=1, cutoff=NEARLY)
        if cloud.kind not in KINDS and near:
            yield f'[clouds.{name}]: model: "{cloud.kind}" is no provider; did you mean "{near[0]}"?'


def _clouds_have_keys(rules: Rules) -> Iterator[str]:
    """Each names a key of its own, or a provider that has some."""
    for name, cloud in rules.clouds.items():
        if cloud.provider is not None:
            yield from _missing(f"[clouds.{name}]: provider", cloud.provider, rules.providers)
        elif cloud.key_env is None and cloud.kind not in rules.providers:
            yield (
                f"[clouds.{name}]: key_env is missing: name the variable that holds its key, "
                f"or those of all its like in [providers.{cloud.kind}]"
            )


def _windows_exist(rules: Rules) -> Iterator[str]:
    for name, cloud in rules.clouds.items():
        provider = None if cloud.key_env else rules.providers.get(cloud.provider or cloud.kind)
        base_url = cloud.base_url or (provider.base_url if provider else None)
        yield from _windows(f"[clouds.{name}]", cloud.kind, base_url, cloud)
    for name, provider in rules.providers.items():
        kinds = {cloud.kind for cloud in rules.clouds.values() if not cloud.key_env and cloud.provider == name}
        for kind in sorted(kinds) or [name]:
            yield from _windows(f"[providers.{name}]", kind, provider.base_url, provider)


def _windows(where: str, kind: str, base_url: str | None, quota: Quota) -> Iterator[str]:
    has = kind_of(kind, base_url).windows
    there = f"it has {', '.join(has)}" if has else "it bounds only how many run at once: concurrent"
    for window in WINDOWS:
        if getattr(quota, window) is not None and window not in has:
            yield f"{where}: {window}: {kind} has no {window}; {there}"


def _budgets_fit(rules: Rules) -> Iterator[str]:
    """A budget that is more than that of a longer period would never count, and is meant otherwise."""
    limits = rules.limits
    default = "" if "cloud_usd_per_day" in limits.model_fields_set else ", its default"
    hour, day, month = limits.cloud_usd_per_hour, limits.cloud_usd_per_day, limits.cloud_usd_per_month
    if hour is not None and hour > day:
        yield (
            f"[limits]: cloud_usd_per_hour: {hour:g} dollars an hour never count beside cloud_usd_per_day = {day:g}"
            f"{default}; lower it, leave it out, or give the day more"
        )
    if month is not None and day > month:
        yield (
            f"[limits]: cloud_usd_per_month: with {month:g} dollars a month, cloud_usd_per_day = {day:g}{default} never"
            " counts; lower the day's, or give the month more"
        )
    if month is not None and hour is not None and hour > month:
        yield (
            f"[limits]: cloud_usd_per_hour: {hour:g} dollars an hour never count beside cloud_usd_per_month ="
            f" {month:g}; lower it, or leave it out"
        )


def _reserves_leave_something(rules: Rules) -> Iterator[str]:
    """To the tier that gives way first, of which every other one that spends wants a part."""
    share, spending = rules.limits.reserve_share, [name for name, tier in rules.tiers.items() if tier.spends]
    others = len(spending) - 1
    if share * others >= 1:
        default = "" if "reserve_share" in rules.limits.model_fields_set else ", its default,"
        yield (
            f"[limits]: reserve_share: {len(spending)} tiers use clouds ({', '.join(spending)}); where each leaves"
            f" {share:g}{default} of the money to every tier that gives way after it, nothing is left to the first."
            f" Write at most {99 // others / 100:g}, or may_spill = false in a tier"
        )


def _promises_can_be_kept(rules: Rules) -> Iterator[str]:
    for name, tier in rules.tiers.items():
        if tier.ttft_target_s < LEAST_TTFT_S:
            yield (
                f"[tiers.{name}]: ttft_target_s: no engine and no cloud gives a first token within"
                f" {tier.ttft_target_s:g} s; promise {LEAST_TTFT_S:g} s or more (it is in seconds)"
            )
        where, share = f"[tiers.{name}]: promise_share", tier.promise_share
        if share < LEAST_SHARE:
            yield (
                f"{where}: a promise that is kept for {share:g} of the requests is none; write {LEAST_SHARE:g} or more,"
                " and a longer ttft_target_s if that cannot be kept"
            )
        elif share > MOST_SHARE:
            yield (
                f"{where}: nobody can keep a promise for {share:g} of the requests; write {MOST_SHARE:g} at most (it is"
                " a part of 1: 0.99 for 99 %)"
            )


# In the order in which a reader wants to hear of them.
CHECKS: tuple[Check, ...] = (
    _active_preset_exists,
    _default_tier_exists,
    _tiers_of_tasks_exist,
    _clouds_of_orders_exist,
    _tasks_that_are_named_exist,
    _tiers_that_are_named_exist,
    _routes_have_names_of_their_own,
    _comparisons_have_names_of_their_own,
    _conditions_can_hold,
    _chains_have_no_loop,
    _some_weight_counts,
    _needs_are_capabilities,
    _kinds_are_spelt_right,
    _clouds_have_keys,
    _windows_exist,
    _budgets_fit,
    _reserves_leave_something,
    _promises_can_be_kept,
)


def orders(rules: Rules) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(where, order) of everything that has one."""
    yield from ((f"[tiers.{name}]: order", tier.order) for name, tier in rules.tiers.items())
    yield from ((f'[[routes]] "{route.name}": order', route.order) for route in rules.routes if route.order)


def conditions(rules: Rules) -> Iterator[tuple[str, Route | Shadow | Split]]:
    """(where, table) of everything that holds for some requests only."""
    yield from ((f'[[routes]] "{route.name}"', route) for route in rules.routes)
    yield from ((f"[shadows.{name}]", shadow) for name, shadow in rules.shadows.items())
    yield from ((f"[splits.{name}]", split) for name, split in rules.splits.items())


def _missing(key: str, name: str, table: Mapping[str, object] | Collection[str]) -> Iterator[str]:
    if name not in table:
        yield f'{key}: "{name}" does not exist; there are: {", ".join(sorted(table)) or "none"}'
