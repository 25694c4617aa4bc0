"""Would a local target break the promise? Predict its time to first token and say so, with hysteresis.

Pure, first version: the wait is the largest of three simple ones. Each has its own name as the reason of the spill.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from engines.snapshot import Load
from router.ask import Ask
from router.routing.fleet import Target
from router.routing.pace import freed_tokens_per_s

# Spilling starts when the forecast passes the promise and ends when it is back under half of it: the gap between
# the two keeps a route from flapping around the threshold and losing the prefix cache each time.
LEAVE_SHARE = 0.5
# The engine's own report of KV use, which also sees what did not come through this router.
KV_ENTER = 0.95
KV_LEAVE = 0.80

TTFT = "spill:ttft"
KV = "spill:kv"
QUEUE = "spill:queue"
DEADLINE = "spill:deadline"


class Need(msgspec.Struct, frozen=True):
    """What one request asks of a target, in that target's tokens."""

    prompt_tokens: float
    answer_tokens: float
    ttft_target_s: float
    deadline_s: float | None = None
    now_s: float = 0.0


class Forecast(msgspec.Struct, frozen=True):
    """Predicted time to first token, and the reason that a spill for it would carry."""

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


def late(ask: Ask, targets: Sequence[Target], ttft_target_s: float, now_s: float = 0.0) -> list[bool]:
    """Of each, whether its first token is expected after the promise: whether `forecast` says more than that.

    Each request asks it of each target, so it makes no values and looks no further than it must.
    """
    prompt_bytes, found = ask.prompt_bytes, []
    for target in targets:
        in_flight, pace, slots = target.in_flight, target.pace, target.slots
        prompt_tokens = prompt_bytes / pace.bytes_per_token
        found.append(
            target.stale
            or in_flight.unstarted_tokens + prompt_tokens > ttft_target_s * pace.prefill_tokens_per_s * target.weight
            or now_s - in_flight.oldest_sent_at_s > ttft_target_s
            or (slots is not None and in_flight.requests >= slots and _slot_s(target, slots) > ttft_target_s)
            or (_may_be_full(target, prompt_tokens) and _kv_wait_s(ask, target) > ttft_target_s)
        )
    return found


def _may_be_full(target: Target, prompt_tokens: float) -> bool:
    """False where there is room in the KV cache for sure."""
    load = target.load
    if load is None:
        return False
    needed, capacity = prompt_tokens + target.pace.answer_tokens, load.kv_capacity_tokens
    return target.in_flight.promised_tokens + needed > capacity or load.kv_used_fraction * capacity + needed > capacity


def _kv_wait_s(ask: Ask, target: Target) -> float:
    prompt_tokens, answer_tokens = tokens_of(ask, target)
    return 0.0 if target.load is None else _kv_room_s(target, target.load, prompt_tokens, answer_tokens)


def keeps(ask: Ask, target: Target, ttft_target_s: float, now_s: float, spilling: bool) -> bool:
    """Whether `judge` would find nothing. Mostly it does not, so it makes no values. False where only `judge` can tell:
    for who has a deadline."""
    if ask.deadline_s is not None or _kv_is_full(target, spilling):
        return False
    return not late(ask, (target,), ttft_target_s * (LEAVE_SHARE if spilling else 1.0), now_s)[0]


def judge(target: Target, need: Need, expected: Forecast, spilling: bool) -> str | None:
    """The reason to spill instead of using this local target, or None, by its forecast and the state so far."""
    if need.deadline_s is not None and expected.ttft_s + _answer_s(target, need) > need.deadline_s:
        return DEADLINE
    if expected.ttft_s > need.ttft_target_s * (LEAVE_SHARE if spilling else 1.0):
        return expected.cause
    if _kv_is_full(target, spilling):
        return KV
    return None


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


def _answer_s(target: Target, need: Need) -> float:
    return need.answer_tokens / (target.pace.stream_tokens_per_s * target.weight)


def _kv_is_full(target: Target, spilling: bool) -> bool:
    if target.load is None:
        return False
    if spilling:
        return target.load.kv_used_fraction > KV_LEAVE
    return target.load.kv_used_fraction > KV_ENTER and target.load.waiting > 0
