"""When an engine will have room: what its KV cache has free, and what those who decode are expected to give back.

Within k more steps a sequence that holds `kv` tokens gives them back with the probability that its answer ends by then,
and takes k more if it does not. Summed over all of them this is far nearer to what comes than the mean rest of each:
the room that is needed comes from whoever ends first.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

import msgspec

from router.spilling.load import EngineLoad
from router.spilling.sample import Sample
from router.spilling.standing import Standing

# Steps from now at which it is reckoned; between them it is a straight line.
STEPS = (0, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
# Of an answer's growth, so many tokens are kept free for each sequence: less costs preemptions, more costs room.
GROWTH_TOKENS = 25.0
# A forecast serves for so many steps.
GOOD_STEPS = 8.0
# Nothing is believed to give less.
LEAST_FREED = 1.0
# What is said of an answer of which nothing is known.
NEVER = (0.0,) * len(STEPS)


class Freed:
    """Of one engine: KV tokens given back within each of STEPS, less the growth of the others. Kept for a while."""

    __slots__ = ("_load", "_old_s", "tokens")

    def __init__(self, load: EngineLoad) -> None:
        self._load = load
        self._old_s = -math.inf
        self.tokens: list[float] = [0.0] * len(STEPS)

    def is_old(self, now_s: float) -> bool:
        return now_s >= self._old_s

    def renew(self, standing: Standing, now_s: float) -> None:
        """Two microseconds for each that decodes."""
        tokens = [0.0] * len(STEPS)
        for stay in self._load.decoding():
            so_far = int(self._load.so_far(stay))
            _add(tokens, stay.prompt_tokens + so_far, _ends(stay.lengths, so_far))
        for stay in self._load.waiting():
            _add(tokens, float(stay.prompt_tokens), _ends(stay.lengths, 0))
        self.tokens = tokens
        self._old_s = now_s + GOOD_STEPS * standing.step_s


def _ends(lengths: Sample | None, so_far: int) -> Sequence[float]:
    return NEVER if lengths is None else lengths.ends_within(so_far, STEPS)


def _add(tokens: list[float], held: float, ends: Sequence[float]) -> None:
    for at, share in enumerate(ends):
        tokens[at] += held * share - STEPS[at] * (1.0 - share)


class Pool(msgspec.Struct, frozen=True):
    """The engines of one model together, at one moment. `freed` as Freed has it, summed, and never less later on;
    `free_tokens` are free now, growth taken off; `ahead_s` is how long the least busy one reads before a newcomer."""

    engines: int
    free_tokens: float
    freed: Sequence[float]
    step_s: float
    ahead_s: float
    token_s: float

    def wait_s(self, tokens: float) -> float:
        """Until so many more tokens have found room, those of a newcomer and of all before it."""
        short = tokens - self.free_tokens
        if short <= 0:
            return 0.0
        freed = self.freed
        if freed[-1] < short:
            return STEPS[-1] * self.step_s * short / max(freed[-1], LEAST_FREED)
        at = bisect_left(freed, short)
        share = (short - freed[at - 1]) / (freed[at] - freed[at - 1])
        return (STEPS[at - 1] + (STEPS[at] - STEPS[at - 1]) * share) * self.step_s

    def ttft_s(self, before: float, growth: float, prompt_tokens: float) -> float:
        """Of a prompt behind prompts of `before` tokens that wait too, with `growth` tokens kept free for them."""
        read_s = before * self.token_s / self.engines + prompt_tokens * self.token_s
        return self.wait_s(before + growth + prompt_tokens) + self.ahead_s + read_s


def pooled(standings: Sequence[Standing], freed: Sequence[Freed]) -> Pool:
    """Raises ValueError where there is no engine."""
    most, summed = 0.0, []
    for each in zip(*[one.tokens for one in freed], strict=True):
        most = max(most, sum(each))
        summed.append(most)
    count = len(standings)
    return Pool(
        engines=count,
        free_tokens=sum(max(0.0, free_tokens(each)) for each in standings),
        freed=summed,
        step_s=sum(each.step_s for each in standings) / count,
        ahead_s=min(each.unread_tokens * each.tempo.token_s for each in standings),
        token_s=min(each.tempo.token_s for each in standings),
    )


def free_tokens(standing: Standing) -> float:
    """For newcomers: what is neither held nor waited for, nor kept for the growth of those that are there and of one
    more."""
    sequences = standing.all_sequences + standing.waiting + standing.others_waiting + 1
    return standing.room_tokens - GROWTH_TOKENS * sequences
