"""What a place lacks to serve a request as it must be served: the one judge of every target before anything goes there.

Pure. Whoever may stand in (a twin, another model of the chain, another engine) is asked the same: privacy, capabilities
(formats of the answer among them), how many answers, length; and a cloud in whose place an engine of this machine can
serve, also whether it obeys every field that the answer hangs on. Where no engine can, it is better to be served
without that field than not at all: so a cloud's own models are served as its provider does. What a twin can is what
models.lock says, unless its table in stack.toml says otherwise (`router.registry`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from router.ask import EMBEDDING, Ask
from router.routing.fleet import Place, Target
from router.routing.tokens import VLLM, fits, least_tokens

# Members of an enumeration are slow to look up in it.
LOCAL = Place.LOCAL


class Lack(NamedTuple):
    """`name` as in the list of decisions; `words` say of a place what it lacks for a request, for people."""

    name: str
    words: Callable[[Ask, Target], str]


def lack(ask: Ask, target: Target, has_home: bool = False) -> Lack | None:
    """The first thing that forbids a target which serves one of the Ask's models. `has_home`: an engine can serve it.
    One function for all of them, because each request asks it of each."""
    if ask.local_only and target.place is not LOCAL:
        return PRIVACY
    if ask.needs and not ask.needs <= target.capabilities:
        return CAPABILITY
    if ask.endpoint is EMBEDDING:
        # Several texts fit one by one; how long each is the engine counts.
        return None
    return CAPABILITY if target.only_embeds else _of_text(ask, target, has_home)


def _of_text(ask: Ask, target: Target, has_home: bool) -> Lack | None:
    if ask.answers > 1 and "n" in target.drops:
        return ANSWERS
    if has_home and target.place is not LOCAL and not ask.relies.isdisjoint(target.drops):
        return FIELD
    return None if fits(ask, target) else CONTEXT


def _length(ask: Ask, target: Target) -> str:
    """vLLM refuses what has no room for the longest answer."""
    answer = f" and {ask.max_tokens:,} for the answer" if ask.max_tokens and target.kind == VLLM else ""
    return f"at least {least_tokens(ask, target):,.0f} tokens{answer}, its context is {target.context_tokens:,}"


def _missing(ask: Ask, target: Target) -> str:
    missing = sorted(ask.needs - target.capabilities)
    return f"it has no {', '.join(missing)}" if missing else "it makes vectors and no text"


PRIVACY = Lack("keeps_privacy", lambda _ask, _target: "the request is local-only")
CAPABILITY = Lack("is_capable", _missing)
ANSWERS = Lack("gives_several", lambda ask, _target: f"it gives one answer, {ask.answers} are wanted")
FIELD = Lack("obeys_fields", lambda ask, target: f"it would leave out {', '.join(sorted(ask.relies & target.drops))}")
CONTEXT = Lack("fits_context", _length)
