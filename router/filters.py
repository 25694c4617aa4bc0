"""May or can a target serve an Ask at all? Each rule with the answer for the client when it leaves nobody.

Pure. To add a rule: one function and one entry in FILTERS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from router.ask import Ask, Endpoint
from router.errors import ApiError
from router.fleet import Fleet, Place, Target

# No vocabulary in use packs more text than this into a token on average: a prompt that is too long even so is too
# long. What is closer to the limit the engine counts exactly.
MOST_BYTES_PER_TOKEN = 8.0
RETRY_STARTING_S = 5.0
# Members of an enumeration are slow to look up in it.
LOCAL = Place.LOCAL

Targets = Sequence[Target]


def _serves_model(ask: Ask, targets: Targets) -> Targets:
    return targets if ask.model is None else [target for target in targets if ask.model in target.models]


def _keeps_privacy(ask: Ask, targets: Targets) -> Targets:
    return [target for target in targets if target.place is LOCAL] if ask.local_only else targets


def _is_capable(ask: Ask, targets: Targets) -> Targets:
    return [target for target in targets if ask.needs <= target.capabilities] if ask.needs else targets


def _fits_context(ask: Ask, targets: Targets) -> Targets:
    least_tokens = ask.prompt_bytes / MOST_BYTES_PER_TOKEN
    return [target for target in targets if least_tokens <= target.context_tokens]


def _no_such_model(ask: Ask, fleet: Fleet, _candidates: Targets) -> ApiError:
    if ask.model is None or not fleet.complete:
        return starting()
    names = ", ".join(sorted(fleet.model_names())) or "none"
    message = f"the model {ask.requested!r} does not exist; there are: {names}, auto, tier/<tier>, task/<task>"
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
    needs = ", ".join(sorted(ask.needs))
    return ApiError(400, "unsupported_capability", f"the request needs {needs}, which no target has: {can}")


def _too_long(ask: Ask, _fleet: Fleet, candidates: Targets) -> ApiError:
    sizes = ", ".join(f"{target.name} {target.context_tokens}" for target in candidates)
    tokens = round(ask.prompt_bytes / MOST_BYTES_PER_TOKEN)
    message = f"the prompt has at least {tokens} tokens, more than any target takes (context in tokens: {sizes})"
    return ApiError(400, "context_length_exceeded", message, "messages" if ask.endpoint is Endpoint.CHAT else "prompt")


# Those that may stay, in their order.
Keep = Callable[[Ask, Targets], Targets]
Refuse = Callable[[Ask, Fleet, Targets], ApiError]
# Each with what the list of decisions says of a target that it drops.
FILTERS: tuple[tuple[Keep, Refuse, str], ...] = (
    (_serves_model, _no_such_model, ": serves_model no"),
    (_keeps_privacy, _only_clouds, ": keeps_privacy no"),
    (_is_capable, _no_capability, ": is_capable no"),
    (_fits_context, _too_long, ": fits_context no"),
)
