"""May or can a target serve an Ask at all? Each rule with the answer for the client when it leaves nobody.

Pure. To add a rule: a Filter in FILTERS, and its condition at the same place in `dropped_by`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from router.ask import EMBEDDING, PROMPT_FIELDS, Ask
from router.errors import ApiError
from router.routing.fleet import OLLAMA, Fleet, Place, Target
from router.routing.tokens import fits, least_tokens

RETRY_STARTING_S = 5.0
# Members of an enumeration are slow to look up in it.
LOCAL = Place.LOCAL

Targets = Sequence[Target]


def _no_such_model(ask: Ask, fleet: Fleet, _candidates: Targets) -> ApiError:
    if ask.model is None or not fleet.complete or ask.model in fleet.models:
        return starting()
    names = ", ".join(sorted(fleet.model_names())) or "none"
    # What stack.toml has put in the place of the name that was asked for.
    asked = f"the task {ask.task!r}" if ask.task else repr(ask.requested)
    whose = "" if ask.model == ask.requested else f", which stack.toml names for {asked},"
    message = f"the model {ask.model!r}{whose} does not exist; there are: {names}, auto, tier/<tier>, task/<task>"
    return ApiError(404, "model_not_found", message, "model")


def starting() -> ApiError:
    return ApiError(503, "no_target", "no engine has reported yet; it is starting", retry_after_s=RETRY_STARTING_S)


def _only_clouds(ask: Ask, fleet: Fleet, candidates: Targets) -> ApiError:
    if not fleet.complete:
        return starting()
    names = ", ".join(target.name for target in candidates)
    message = f"local-only, and {ask.requested!r} runs only at {names}; nothing was sent there"
    return ApiError(503, "no_local_target", message, "privacy", RETRY_STARTING_S)


def _no_capability(ask: Ask, _fleet: Fleet, candidates: Targets) -> ApiError:
    can = ", ".join(f"{target.name} can {'/'.join(sorted(target.capabilities))}" for target in candidates)
    needs = ", ".join(sorted(ask.needs)) or "text"
    return ApiError(400, "unsupported_capability", f"the request needs {needs}, which no target has: {can}")


def _one_answer(ask: Ask, _fleet: Fleet, candidates: Targets) -> ApiError:
    names = ", ".join(target.name for target in candidates)
    message = f"the request needs {ask.answers} answers at once (n, or several prompts); {names} gives one"
    return ApiError(400, "unsupported_capability", message, "n")


def _too_long(ask: Ask, _fleet: Fleet, candidates: Targets) -> ApiError:
    sizes = ", ".join(f"{target.name} {target.context_tokens}" for target in candidates)
    tokens = round(min(least_tokens(ask, target) for target in candidates))
    answer = f", and {ask.max_tokens} are to be left for the answer" if ask.max_tokens else ""
    message = f"the prompt has about {tokens} tokens or more{answer}: too many for every target"
    message += f" (context in tokens: {sizes})"
    return ApiError(400, "context_length_exceeded", message, PROMPT_FIELDS[ask.endpoint])


class Filter(NamedTuple):
    """`refuse` is given whom it dropped last; `no` is what the list of decisions says of each."""

    refuse: Callable[[Ask, Fleet, Targets], ApiError]
    no: str


SERVES_MODEL = Filter(_no_such_model, ": serves_model no")
KEEPS_PRIVACY = Filter(_only_clouds, ": keeps_privacy no")
IS_CAPABLE = Filter(_no_capability, ": is_capable no")
GIVES_SEVERAL = Filter(_one_answer, ": gives_several no")
FITS_CONTEXT = Filter(_too_long, ": fits_context no")
# One after the other: each sees only what those before it let through.
FILTERS = (SERVES_MODEL, KEEPS_PRIVACY, IS_CAPABLE, GIVES_SEVERAL, FITS_CONTEXT)

Dropped = Sequence[tuple[Filter, Target]]


def dropped_by(ask: Ask, target: Target) -> Filter | None:
    """The first rule that forbids a target which serves one of the Ask's models. One function for all of them, because
    each request asks it of each."""
    if ask.local_only and target.place is not LOCAL:
        return KEEPS_PRIVACY
    if ask.needs and not ask.needs <= target.capabilities:
        return IS_CAPABLE
    if ask.endpoint is EMBEDDING:
        # Several texts fit one by one; how long each is the engine counts.
        return None
    if target.only_embeds:
        return IS_CAPABLE
    if target.gives_one and ask.answers > 1:
        return GIVES_SEVERAL
    return None if fits(ask, target) else FITS_CONTEXT


def fits_all(ask: Ask, plain_tokens: int) -> bool:
    """Whether no rule forbids any target, as can be told without a look at one: a prompt has no more tokens than bytes.
    `plain_tokens` as the Fleet says."""
    return (
        ask.prompt_bytes + (ask.max_tokens or 0) <= plain_tokens
        and not ask.needs
        and not ask.local_only
        and ask.answers <= 1
    )


def sieve(ask: Ask, targets: Targets) -> tuple[Targets, Dropped]:
    """Those that no rule forbids, and the others with the first rule that does.

    Only who might be forbidden is looked at closely: a decision asks it of each of some hundred targets.
    """
    most_tokens, needs, local_only = ask.prompt_bytes + (ask.max_tokens or 0), ask.needs, ask.local_only
    several = ask.answers > 1
    fit: list[Target] = []
    dropped: list[tuple[Filter, Target]] = []
    for target in targets:
        if (
            most_tokens > target.context_tokens
            or (needs and not needs <= target.capabilities)
            or (local_only and target.place is not LOCAL)
            or target.kind == OLLAMA
            or target.only_embeds
            or (several and target.gives_one)
        ):
            rule = dropped_by(ask, target)
            if rule is not None:
                dropped.append((rule, target))
                continue
        fit.append(target)
    return fit, dropped


def refusal(ask: Ask, fleet: Fleet, dropped: Dropped) -> ApiError:
    """The answer when all were dropped: that of the rule which dropped the last of them."""
    for each in reversed(FILTERS):
        last = [target for rule, target in dropped if rule is each]
        if last:
            return each.refuse(ask, fleet, last)
    return FILTERS[0].refuse(ask, fleet, ())


def considered(dropped: Dropped, chain: Sequence[str], fleet: Targets) -> list[str]:
    """What the list of decisions says of those who were not asked, rule by rule; `chain` are the models asked for."""
    others = [target for target in fleet if chain and target.models.isdisjoint(chain)]
    all_dropped = [*((SERVES_MODEL, target) for target in others), *dropped]
    return [target.name + each.no for each in FILTERS for rule, target in all_dropped if rule is each]
