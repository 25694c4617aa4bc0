"""How long the wait for a first token would be at an engine, as far as a Fleet tells: for who asks without being sent.

Pure and rough: the largest of three simple waits. Who is sent is placed by a sluice (`router.spilling`), which knows
each request there; this serves copies, models that stand in, and explanations.
"""

from __future__ import annotations

import math

import msgspec

from engines.snapshot import Load
from router.ask import Ask
from router.routing.fleet import Place, Target
from router.routing.pace import freed_tokens_per_s

TTFT = "spill:ttft"
KV = "spill:kv"
QUEUE = "spill:queue"


class Need(msgspec.Struct, frozen=True):
    """What one request asks of a target, in that target's tokens."""

    prompt_tokens: float
    answer_tokens: float
    now_s: float = 0.0


class Forecast(msgspec.Struct, frozen=True):
    """Predicted time to first token, and what of it is longest."""

    ttft_s: float
    cause: str


def forecast(target: Target, need: Need) -> Forecast:
    """The largest of the waits, which do not shorten each other. To add one: its seconds, its cause, a comparison."""
    if target.stale:
        # Stale telemetry counts as full, never as idle.
        return Forecast(math.inf, QUEUE)
    in_flight, slots = target.in_flight, target.slots
    longest_s = (in_flight.unstarted_tokens + need.prompt_tokens) / (target.pace.prefill_tokens_per_s * target.weight)
    cause = TTFT
    if slots is not None and in_flight.requests >= slots and (slot_s := _slot_s(target, slots)) > longest_s:
        longest_s, cause = slot_s, QUEUE
    if (
        target.load is not None
        and (room_s := _kv_room_s(target, target.load, need.prompt_tokens, need.answer_tokens)) > longest_s
    ):
        longest_s, cause = room_s, KV
    # Engines serve in order of arrival: whoever comes now waits at least as long as the head has waited already.
    if (oldest_wait_s := need.now_s - in_flight.oldest_sent_at_s) > longest_s:
        longest_s, cause = oldest_wait_s, QUEUE
    return Forecast(longest_s, cause)


def tokens_of(ask: Ask, target: Target) -> tuple[float, float]:
    """(prompt, answer). An answer is as long as answers here usually are, never over its bound."""
    answer_tokens = target.pace.answer_tokens
    if ask.max_tokens and ask.max_tokens < answer_tokens:
        answer_tokens = ask.max_tokens
    return ask.prompt_bytes / target.pace.bytes_per_token, answer_tokens


def need_of(ask: Ask, target: Target, now_s: float) -> Need:
    """In the target's own tokens."""
    return Need(*tokens_of(ask, target), now_s)


def shown_ttft_s(ask: Ask, target: Target, now_s: float) -> float | None:
    """The forecast for an engine, and what was usual of late at a cloud, whose queue nobody sees; None where nobody can
    tell."""
    if target.place is not Place.LOCAL:
        return target.pace.ttft_p50_s
    expected_s = forecast(target, need_of(ask, target, now_s)).ttft_s
    return None if math.isinf(expected_s) else expected_s


def is_timely(ask: Ask, target: Target, ttft_s: float, now_s: float) -> bool:
    """Whether a first token is expected within that time."""
    return forecast(target, need_of(ask, target, now_s)).ttft_s <= ttft_s


def _kv_room_s(target: Target, load: Load, prompt_tokens: float, answer_tokens: float) -> float:
    """Time until enough of the KV cache is free, at the rate at which finished requests free it."""
    capacity, held = load.kv_capacity_tokens, target.in_flight.promised_tokens
    if capacity == 0:
        return 0.0
    reported = load.kv_used_fraction * capacity
    missing = (held if held > reported else reported) + prompt_tokens + answer_tokens - capacity
    return missing / (freed_tokens_per_s(target.pace, capacity) * target.weight) if missing > 0 else 0.0


def _slot_s(target: Target, slots: int) -> float:
    """Time until all who came before have been given a slot and one more is free, at the usual length of answers."""
    ahead = target.in_flight.requests - slots + 1
    return ahead / slots * target.pace.answer_tokens / (target.pace.stream_tokens_per_s * target.weight)
