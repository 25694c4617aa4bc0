"""What the router learns of a target from the answers that pass through it.

Pure: a Pace and one finished answer in, the next Pace out. Moving averages, because speeds drift with the load.
"""

from __future__ import annotations

import math

import msgspec

from router.routing.fleet import Pace

# Weight of one answer in a moving average once there are many: about the last twenty count. The first ones weigh
# more, so that what was assumed is soon forgotten.
WEIGHT = 0.05
MANY = 1 / WEIGHT - 1
# Time over which the rate of freed KV tokens is averaged.
RATE_WINDOW_S = 5.0
# How fast a KV cache that nobody has measured yet is assumed to turn over once.
KV_TURNOVER_S = 5.0
# A long gap between two answers says that little was asked, not that the engine became this slow.
SLOWEST_TURNOVER_S = 60.0
# A shorter prompt's time to first token is mostly fixed cost and says nothing about the prefill rate.
TELLING_PROMPT_TOKENS = 256
# Below this a rate says more about rounding than about the engine.
SHORTEST_S = 0.001


class Finished(msgspec.Struct, frozen=True):
    """One finished answer. Token counts are the target's own; times count from the moment it was sent.

    `queued_tokens` are the prompt tokens that stood before its first token, its own included. `since_last_s` is the
    time since the previous answer of the same target ended while the target was full, else None.
    """

    prompt_bytes: int
    prompt_tokens: int
    completion_tokens: int
    queued_tokens: float
    ttft_s: float
    e2e_s: float
    streamed: bool
    was_full: bool
    since_last_s: float | None
    kv_capacity_tokens: int


def freed_tokens_per_s(pace: Pace, kv_capacity_tokens: int) -> float:
    """How fast finished requests give KV room back while the engine is full: measured, else assumed."""
    return pace.freed_tokens_per_s or kv_capacity_tokens / KV_TURNOVER_S


def learn(pace: Pace, done: Finished) -> Pace:
    weight = WEIGHT if pace.answers >= MANY else 1 / (pace.answers + 1)
    bytes_per_token, freed = pace.bytes_per_token, pace.freed_tokens_per_s
    prefill, stream = pace.prefill_tokens_per_s, pace.stream_tokens_per_s
    if done.prompt_bytes and done.prompt_tokens:
        # A chat template adds its own tokens, so the shorter a prompt the less it says about the bytes of a token.
        share = 1.0 if done.prompt_tokens > TELLING_PROMPT_TOKENS else done.prompt_tokens / TELLING_PROMPT_TOKENS
        bytes_per_token = _average(bytes_per_token, done.prompt_bytes / done.prompt_tokens, weight * share)
    # An answer that came whole shows neither when its first token came nor how fast the others followed.
    if done.streamed:
        prefill, stream = _prefill_rate(prefill, done), _stream_rate(stream, done, weight)
    # Only a full engine shows how fast it can free tokens; an idle one shows how little is asked of it.
    if done.since_last_s is not None:
        freed = _freed_rate(pace, done, max(done.since_last_s, SHORTEST_S))
    answer_tokens = _average(pace.answer_tokens, done.completion_tokens, weight)
    ttft_p50_s = _median(pace.ttft_p50_s, done.ttft_s, weight) if done.streamed else pace.ttft_p50_s
    tpot_p50_s = _median(pace.tpot_p50_s, _tpot_s(done, ttft_p50_s), weight)
    return Pace(pace.answers + 1, bytes_per_token, answer_tokens, prefill, stream, freed, ttft_p50_s, tpot_p50_s)


def _average(old: float, new: float, weight: float) -> float:
    return old + weight * (new - old)


def _median(old: float | None, new: float | None, weight: float) -> float | None:
    """The median goes up or down by a fixed share, towards each new value and never beyond it.

    Robbins and Monro's stochastic approximation of a quantile (1951), on a logarithmic scale and with a step that never
    ends, so that it follows a drift: where as many values lie above as below, the steps cancel out. A value that is far
    out counts no more than one that is near, which is what a mean could not do.
    """
    if new is None or old is None:
        return old if new is None else new
    return max(new, old * math.exp(-weight)) if new < old else min(new, max(old, SHORTEST_S) * math.exp(weight))


def _tpot_s(done: Finished, ttft_p50_s: float | None) -> float | None:
    """Time for each token after the first. An answer that came whole hides its first token: the usual wait is taken off
    where one is known, else it is spread over the tokens."""
    tokens = done.completion_tokens - 1
    decode_s = done.e2e_s - (done.ttft_s if done.streamed else ttft_p50_s or 0.0)
    return decode_s / tokens if tokens > 0 and decode_s >= SHORTEST_S else None


def _stream_rate(old: float, done: Finished, weight: float) -> float:
    decode_s = done.e2e_s - done.ttft_s
    if done.completion_tokens <= 1 or decode_s < SHORTEST_S:
        return old
    return _average(old, (done.completion_tokens - 1) / decode_s, weight)


def _prefill_rate(old: float, done: Finished) -> float:
    """A wait for KV room is not prefill, so only answers that found room teach the prefill rate, and only long ones."""
    if done.was_full or done.queued_tokens < TELLING_PROMPT_TOKENS:
        return old
    return _average(old, done.queued_tokens / max(done.ttft_s, SHORTEST_S), WEIGHT)


def _freed_rate(pace: Pace, done: Finished, gap_s: float) -> float:
    rate = (done.prompt_tokens + done.completion_tokens) / gap_s
    known = freed_tokens_per_s(pace, done.kv_capacity_tokens)
    slowest = done.kv_capacity_tokens / SLOWEST_TURNOVER_S
    return max(slowest, _average(known, rate, 1 - math.exp(-gap_s / RATE_WINDOW_S)))
