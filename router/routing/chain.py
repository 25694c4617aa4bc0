"""Which models may serve a request, in what order: those of its task, and those that stand in for them.

Pure: Rules in, names out. The order is one for all requests of the same model, tier and task.
"""

from __future__ import annotations

from router.tables.rules import Rules


def models_of(task: str | None, rules: Rules) -> tuple[str, ...]:
    """The models of a task: what the active preset says, else the task's own; empty where any model will do."""
    if task is None:
        return ()
    preset = rules.preset
    if preset is not None and (named := preset.tasks.get(task, preset.default)):
        return named
    own = rules.tasks[task].model
    return () if own is None else (own,)


def stand_ins(models: tuple[str, ...], tier: str, rules: Rules) -> tuple[str, ...]:
    """Who serves when none of `models` can: their fallbacks, the tier's, and then those for an emergency; each once."""
    own, known = rules.tiers[tier], rules.chains
    chains = [known[model] for model in models if model in known] if known else []
    if not (chains or own.fallbacks or own.emergency):
        return ()
    names = [name for chain in chains for name in chain.fallbacks]
    names += own.fallbacks
    names += [name for chain in chains for name in chain.emergency]
    names += own.emergency
    return tuple(dict.fromkeys(name for name in names if name not in models))
