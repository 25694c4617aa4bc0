"""Shadows: which requests another model is asked too, and what that copy asks. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from router.ask import Ask
from router.comparing.share import is_among
from router.comparing.split import TRIAL
from router.ids import new_id
from router.routing.condition import holds
from router.routing.fleet import Place, Target
from router.routing.forecast import KV, forecast, need_of
from router.routing.terms import Terms
from router.tables.rules import Rules

REASON = "shadow:"
MOST_OF_PROMISE = 0.5
MOST_KV = 0.80


def shadows_of(ask: Ask, rules: Rules, at_unix_s: float) -> Iterator[Ask]:
    """A copy for each shadow whose condition holds and whose share the request belongs to. A copy has none itself."""
    if ask.shadow_of is not None:
        return
    for name, shadow in rules.shadows.items():
        if is_among(shadow.percent, name, ask.request_id) and holds(shadow, ask, at_unix_s):
            yield _copy(ask, name, shadow.model)


def _copy(ask: Ask, name: str, model: str) -> Ask:
    """The same question to that model alone, under a name of its own.

    What the client said of privacy and of money holds for the copy as it is. Its trace does not go along: whoever
    reads it would find a second answer to one question.
    """
    return replace(
        ask,
        request_id=f"shadow-{new_id()}",
        model=model,
        stand_ins=(),
        size=None,
        how=REASON + name,
        trace=(),
        arm=name + TRIAL,
        shadow_of=ask.request_id,
    )


def in_the_way(ask: Ask, target: Target, terms: Terms) -> str | None:
    """Why a copy would cost somebody's request its room at this target; None where there is room to spare.

    A copy leaves an engine in peace from half of the promise on, and from four fifths of its KV cache; a provider while
    there is no room within its limits.
    """
    if target.place is Place.CLOUD:
        return (target.room.why or "its limits") if target.room.ready_in_s > 0 else None
    expected = forecast(target, need_of(ask, target, terms.now_s))
    if expected.ttft_s > MOST_OF_PROMISE * terms.ttft_target_s:
        return expected.cause
    return KV if target.load is not None and target.load.kv_used_fraction > MOST_KV else None
