"""Who can be served in time at all: by an engine that has nothing else to do, or by the cloud. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulator.sequence import Request
from benchmarks.simulator.setting import EngineKind, Setting
from benchmarks.workload.trace import BLOCK_TOKENS

Flags = NDArray[np.bool_]


def longest_prompt(kind: EngineKind, ttft_s: float) -> int:
    """The most tokens of a prompt whose first token an idle engine gives within so long; 0 where there is none."""
    low, high = 0, kind.made().kv_tokens
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _alone_s(kind, middle) <= ttft_s else (low, middle)
    return low


def _alone_s(kind: EngineKind, prompt_tokens: int) -> float:
    """Until the first token of such a prompt in an idle engine."""
    engine, request = kind.made(), Request(0, 0.0, prompt_tokens, 1)
    engine.add(request, 0.0)
    while request.first_s is None:
        engine.advance(engine.due_s)
    return request.first_s


def here(setting: Setting) -> Flags:
    """Who could be served in time by an idle engine. With a prefix cache: by one that knows all that can be known."""
    kind = setting.engine
    room_tokens, longest = kind.made().kv_tokens, longest_prompt(kind, setting.promise.ttft_s)
    found = np.empty(len(setting.arrivals), np.bool_)
    for number, each in enumerate(setting.arrivals):
        known_tokens = len(each.prefix) * BLOCK_TOKENS if kind.prefix_cache else 0
        fits = each.prompt_tokens + each.output_tokens <= room_tokens
        found[number] = fits and each.prompt_tokens - known_tokens <= longest
    return found


def kept_most(setting: Setting, here: Flags) -> float:
    """The share of the promise that nobody exceeds: `here` are those that `here` found; a cloud may be late too."""
    ttfts_s = np.asarray(setting.cloud.ttfts_s(len(setting.arrivals), setting.seed))
    promise = setting.promise
    late = (ttfts_s > promise.ttft_s) | (setting.cloud.tpot_s > promise.tpot_s)
    return 1.0 - float((late & ~here).mean())
