"""A gate without a sluice: whether engines have room in time is what the Fleet's own forecast says of them."""

from __future__ import annotations

import math

from router.routing.fleet import Target
from router.routing.forecast import forecast, need_of
from router.routing.gate import Decision, Gate, let_in, longest_wait_s, spilled, turned_away


def through(decision: Decision) -> Decision:
    """What becomes of a Decision whose engines are as busy as they seem."""
    gate = decision.gate
    if gate is None:
        return decision
    terms = gate.case.terms
    engine, cause, ttft_s = min(
        [_expected(gate, each) for each in gate.can if each in gate.engines], key=lambda found: found[2]
    )
    if ttft_s <= terms.ttft_target_s and cause != "spill:deadline":
        return let_in(decision, engine, is_late=False)
    if gate.twin is not None:
        return spilled(decision, cause)
    if ttft_s > longest_wait_s(terms):
        return turned_away(decision, ttft_s, longest_wait_s(terms))
    return let_in(decision, engine, is_late=True)


def _expected(gate: Gate, target: Target) -> tuple[Target, str, float]:
    ask, now_s = gate.case.ask, gate.case.terms.now_s
    need = need_of(ask, target, now_s)
    found = forecast(target, need)
    answer_s = need.answer_tokens / target.pace.stream_tokens_per_s
    late = found.ttft_s + answer_s > (math.inf if ask.deadline_s is None else ask.deadline_s)
    return target, "spill:deadline" if late else found.cause, found.ttft_s
