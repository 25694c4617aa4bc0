"""May or can a target serve an Ask at all? Each rule with the answer for the client when it leaves nobody.

Pure. To add a rule: a Lack and its condition in `spilling.parity`, and a Filter in FILTERS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from router.ask import PROMPT_FIELDS, Ask
from router.errors import ApiError
from router.routing.fleet import OLLAMA, Fleet, Place, Target
from router.routing.tokens import least_tokens
from router.spilling import parity
from router.spilling.parity import Lack

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


def _drops_fields(ask: Ask, _fleet: Fleet, candidates: Targets) -> ApiError:
    names = ", ".join(
        f"{target.name} leaves out {'/'.join(sorted(ask.relies & target.drops))}" for target in candidates
    )
    return ApiError(400, "unsupported_capability", f"no target obeys all fields of the request: {names}")


class Filter(NamedTuple):
    """`refuse` is given whom it dropped last; `no` is what the list of decisions says of each. `lack` is what whoever
    it drops lacks; None: the model itself."""

    refuse: Callable[[Ask, Fleet, Targets], ApiError]
    no: str
    lack: Lack | None = None


def _of(lack: Lack, refuse: Callable[[Ask, Fleet, Targets], ApiError]) -> Filter:
    return Filter(refuse, f": {lack.name} no", lack)


SERVES_MODEL = Filter(_no_such_model, ": serves_model no")
KEEPS_PRIVACY = _of(parity.PRIVACY, _only_clouds)
IS_CAPABLE = _of(parity.CAPABILITY, _no_capability)
GIVES_SEVERAL = _of(parity.ANSWERS, _one_answer)
OBEYS_FIELDS = _of(parity.FIELD, _drops_fields)
FITS_CONTEXT = _of(parity.CONTEXT, _too_long)
# One after the other: each sees only what those before it let through.
FILTERS = (SERVES_MODEL, KEEPS_PRIVACY, IS_CAPABLE, GIVES_SEVERAL, OBEYS_FIELDS, FITS_CONTEXT)
BY_LACK = {each.lack.name: each for each in FILTERS if each.lack is not None}

Dropped = Sequence[tuple[Filter, Target]]


def dropped_by(ask: Ask, target: Target, has_home: bool = False) -> Filter | None:
    """The first rule that forbids a target which serves one of the Ask's models (`spilling.parity`)."""
    lacking = parity.lack(ask, target, has_home)
    return None if lacking is None else BY_LACK[lacking.name]


def fits_all(ask: Ask, plain_tokens: int) -> bool:
    """Whether no rule forbids any target, as can be told without a look at one: a prompt has no more tokens than bytes.
    `plain_tokens` as the Fleet says."""
    return (
        ask.prompt_bytes + (ask.max_tokens or 0) <= plain_tokens
        and not ask.needs
        and not ask.local_only
        and ask.answers <= 1
        and not ask.relies
    )


def sieve(ask: Ask, targets: Targets, has_home: bool = False) -> tuple[Targets, Dropped]:
    """Those that no rule forbids, and the others with the first rule that does. `has_home`: an engine can serve it.

    Only who might be forbidden is looked at closely: a decision asks it of each of some hundred targets.
    """
    most_tokens, needs, local_only = ask.prompt_bytes + (ask.max_tokens or 0), ask.needs, ask.local_only
    several, relies = ask.answers > 1, has_home and bool(ask.relies)
    fit: list[Target] = []
    dropped: list[tuple[Filter, Target]] = []
    for target in targets:
        if (
            most_tokens > target.context_tokens
            or (needs and not needs <= target.capabilities)
            or (local_only and target.place is not LOCAL)
            or target.kind == OLLAMA
            or target.only_embeds
            or ((several or relies) and target.drops)
        ):
            rule = dropped_by(ask, target, has_home)
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
