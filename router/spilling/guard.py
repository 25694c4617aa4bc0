"""What letting a prompt in now does to those who decode: reading it is a stall for all of them. Pure.

An answer keeps its promised time per token if its mean gap is short enough when it ends. So whoever has gained enough
bears the stall, whoever has many tokens left gains it back, and only a short answer that began a moment ago is lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Protocol

from router.spilling.standing import Standing
from router.spilling.stay import Stay

# An answer of which nothing is known is believed to end within so many tokens on average.
UNKNOWN_TOKENS = 128.0
# Of those who wait, so many of the newest are looked at: the others have many prompts behind them as it is.
NEWEST = 8


class Decoding(Protocol):
    """The load of one engine."""

    def so_far(self, stay: Stay) -> float: ...

    def newest_waiting(self) -> Iterator[Stay]: ...

    def at_risk(self, stall_s: float, steps: int) -> list[tuple[Stay, float]]: ...


def to_recover_tokens(behind_s: float, step_s: float, tpot_s: float) -> float:
    """How many more tokens it takes until a mean gap is within `tpot_s` again; infinite where steps are too long."""
    if behind_s <= 0.0:
        return 0.0
    return behind_s / (tpot_s - step_s) if step_s < tpot_s else math.inf


def lost(load: Decoding, standing: Standing, tpot_s: float, prompt_tokens: int, cached_tokens: int = 0) -> float:
    """How many of those who are there are expected to break the promise if this prompt is sent now, who would else not.

    All that decode where steps become too long for it. Costs as much as there are who could not bear the stall.
    """
    sequences, kv_tokens = standing.all_sequences + 1, standing.read_tokens + prompt_tokens
    step_s = standing.tempo.decode_s(sequences, kv_tokens)
    if step_s >= tpot_s:
        return float(standing.sequences)
    stall_s, steps = standing.stall(prompt_tokens, cached_tokens)
    before_s, before_steps = standing.stall(0) if standing.unread_tokens else (0.0, 0)
    more_s = stall_s - before_s - tpot_s * (steps - before_steps)
    expected = _lost_waiting(load, standing, tpot_s, prompt_tokens - cached_tokens)
    for stay, behind_s in load.at_risk(stall_s, steps):
        so_far = load.so_far(stay)
        within = steps + to_recover_tokens(behind_s, step_s, tpot_s)
        expected += _ends_within(stay, so_far, within)
        if behind_s > more_s:
            # Lost without this prompt as well, if it ends early enough.
            within = before_steps + to_recover_tokens(behind_s - more_s, standing.step_s, tpot_s)
            expected -= _ends_within(stay, so_far, within)
    return max(0.0, expected)


def _lost_waiting(load: Decoding, standing: Standing, tpot_s: float, fresh_tokens: int) -> float:
    """Whoever waits begins before this prompt is read, and then has to sit through it and all between."""
    if not standing.waiting:
        return 0.0
    tempo, step_s = standing.tempo, standing.step_s
    room = tempo.room(standing.all_sequences)
    expected, between = 0.0, 0
    for stay in islice(load.newest_waiting(), NEWEST):
        # What fits in the step that reads its last piece is no stall.
        shared = room - stay.fresh_tokens % room
        with_it = _to_end_within(standing, tpot_s, step_s, between + fresh_tokens - shared)
        expected += _ends_within(stay, 0.0, with_it)
        expected -= _ends_within(stay, 0.0, _to_end_within(standing, tpot_s, step_s, between - shared))
        between += stay.fresh_tokens
    return expected


def _to_end_within(standing: Standing, tpot_s: float, step_s: float, tokens: int) -> float:
    """An answer that has just begun breaks the promise if it ends within so many tokens, for so many are read first."""
    if tokens <= 0:
        return 0.0
    steps = standing.tempo.steps(tokens, standing.all_sequences)
    stall_s = standing.tempo.prefill_s(tokens, 0.0, standing.all_sequences, standing.read_tokens)
    behind_s = stall_s - tpot_s * steps
    return steps + to_recover_tokens(behind_s, step_s, tpot_s) if behind_s > 0 else 0.0


def _ends_within(stay: Stay, so_far: float, tokens: float) -> float:
    if stay.lengths is not None and tokens < math.inf:
        return stay.lengths.ends_within(so_far, (math.ceil(tokens),))[0]
    return 1.0 - math.exp(-tokens / UNKNOWN_TOKENS)
