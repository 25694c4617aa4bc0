"""What one table of stack.toml says of another, checked: each check a small function of the Rules, in one list.

Pure. What needs the environment, prices or the models of the lock is checked by `router.registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from router.tables.rules import Rules

Check = Callable[[Rules], Iterator[str]]


def complaints(rules: Rules) -> list[str]:
    """All that is wrong, each with table and key and how to mend it; empty when nothing is."""
    return [complaint for check in CHECKS for complaint in check(rules)]


def _default_tier_exists(rules: Rules) -> Iterator[str]:
    yield from _missing("[limits]: default_tier", rules.limits.default_tier, rules.tiers)


def _tiers_of_tasks_exist(rules: Rules) -> Iterator[str]:
    for name, task in rules.tasks.items():
        yield from _missing(f"[tasks.{name}]: tier", task.tier, rules.tiers)


def _clouds_of_tiers_exist(rules: Rules) -> Iterator[str]:
    for name, tier in rules.tiers.items():
        for place in tier.order:
            if place.startswith("cloud/"):
                yield from _missing(f"[tiers.{name}]: order", place.removeprefix("cloud/"), rules.clouds)


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


# In the order in which a reader wants to hear of them.
CHECKS: tuple[Check, ...] = (_default_tier_exists, _tiers_of_tasks_exist, _clouds_of_tiers_exist, _clouds_have_keys)


def _missing(key: str, name: str, table: Mapping[str, object]) -> Iterator[str]:
    if name not in table:
        yield f'{key}: "{name}" does not exist; there are: {", ".join(sorted(table)) or "none"}'
