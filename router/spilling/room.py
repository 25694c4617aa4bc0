"""When an engine will have room: what its KV cache has free, and what those who decode are expected to give back.

Within k more steps a sequence that holds `kv` tokens gives them back with the probability that its answer ends by then,
and takes k more if it does not. Summed over all of them this is far nearer to what comes than the mean rest of each:
the room that is needed comes from whoever ends first. Slots, where they are what is short, come back the same way.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec

from router.spilling.load import EngineLoad
from router.spilling.standing import GROWTH_TOKENS, Standing
from router.spilling.stay import Stay

# Steps from now at which it is reckoned; from one to the next, and to the first, it is a straight line.
STEPS = (8, 16, 32, 48, 64, 96, 160, 256)
# A forecast serves for so many steps.
GOOD_STEPS = 12.0
# One that nobody has asked for so long says nothing any more.
STALE_S = 2.0
# An engine at which nothing happens is looked at again after this.
LOOKED_S = 0.1
# Nothing is believed to give less: tokens, slots.
LEAST_FREED, LEAST_SLOTS = 1.0, 0.1
# Slots are counted where so large a share of them is taken.
SLOTS_TAKEN = 0.5
# Of no engine.
NEVER = (0.0,) * len(STEPS)
# Others' requests, of which nobody here knows more, end after so many more tokens on average.
OTHERS_TOKENS = 256.0
OTHERS_END = tuple(1.0 - math.exp(-steps / OTHERS_TOKENS) for steps in STEPS)


class Freed:
    """Of one engine: KV tokens given back within each of STEPS, less the growth of the others, and slots, where these
    may become short. Kept for a while, and reckoned anew a part at each look."""

    __slots__ = ("_load", "_next", "_old_s", "_todo", "slots", "tokens")

    def __init__(self, load: EngineLoad) -> None:
        self._load = load
        self._old_s = -math.inf
        self._todo: list[Stay] = []
        self.tokens: list[float] = [0.0] * len(STEPS)
        self.slots: list[float] = self.tokens
        self._next = (self.tokens, self.slots)

    def renew(self, now_s: float, most: int) -> int:
        """Where it is old: of so many sequences at most, but of all where it is stale. How many it were, and one at
        least where it was old."""
        if now_s < self._old_s:
            return 0
        if now_s > self._old_s + STALE_S:
            self._todo, most = [], sys.maxsize
        if not self._todo:
            self._todo = self._load.stays()
            self._next = ([0.0] * len(STEPS), [0.0] * len(STEPS))
        part = self._todo[-most:]
        self._add(part, *self._next)
        del self._todo[-most:]
        if not self._todo:
            self._add_others(*self._next)
            self.tokens, self.slots = self._next
            self._old_s = now_s + GOOD_STEPS * self._load.standing(now_s).step_s
        return max(1, len(part))

    def _add(self, part: Sequence[Stay], tokens: list[float], slots: list[float]) -> None:
        load = self._load
        counts_slots = has_few_slots(load.glance.requests, load.most_sequences)
        growing = 0
        for stay in part:
            if stay.ended:
                continue
            growing += 1
            if stay.lengths is None:
                continue
            so_far = int(load.so_far(stay))
            stay.lengths.give_back(so_far, stay.prompt_tokens + so_far, STEPS, tokens)
            if counts_slots:
                for at, share in enumerate(stay.lengths.ends_within(so_far, STEPS)):
                    slots[at] += share
        for at, step in enumerate(STEPS):
            tokens[at] -= growing * step

    def _add_others(self, tokens: list[float], slots: list[float]) -> None:
        held, sequences = self._load.others.kv_tokens, self._load.others.running
        if sequences:
            for at, share in enumerate(OTHERS_END):
                tokens[at] += held * share - sequences * STEPS[at] * (1.0 - share)
                slots[at] += sequences * share


class Forecast(msgspec.Struct, frozen=True):
    """Engines together, at one moment. `freed` tokens and slots as Freed has them, summed, and never less later on;
    `free_tokens` are free now, growth taken off, and so many `free_slots`; `ahead_s` is how long the least busy one
    reads before a newcomer."""

    engines: int
    free_tokens: float
    freed: Sequence[float]
    step_s: float
    ahead_s: float
    token_s: float
    free_slots: float = math.inf
    freed_slots: Sequence[float] = NEVER

    def wait_s(self, tokens: float) -> float:
        """Until so many more tokens have found room, those of a newcomer and of all before it."""
        short = tokens - self.free_tokens
        return _until(self.freed, short, LEAST_FREED) * self.step_s if short > 0 else 0.0

    def slot_wait_s(self, requests: float) -> float:
        """Until so many more requests have found a slot."""
        short = requests - self.free_slots
        return _until(self.freed_slots, short, LEAST_SLOTS) * self.step_s if short > 0 else 0.0

    def ttft_s(self, before: Sequence[float], prompt_tokens: float, fresh_tokens: float) -> float:
        """Of a prompt of which so much has to be read, behind others that wait too (as Before has them); infinite
        without an engine."""
        if not self.engines:
            return math.inf
        tokens, fresh_before, requests = before
        wait_s = self.wait_s(tokens + GROWTH_TOKENS * requests + prompt_tokens)
        if self.free_slots < math.inf:
            wait_s = max(wait_s, self.slot_wait_s(requests + 1))
        return wait_s + self.ahead_s + (fresh_before / self.engines + fresh_tokens) * self.token_s


class Before(NamedTuple):
    """Those who wait before somebody: their prompts, what of these has to be read, and how many they are."""

    tokens: float = 0.0
    fresh_tokens: float = 0.0
    requests: float = 0.0


FIRST = Before()


def _rates(freed: Sequence[float]) -> Iterator[float]:
    """A step, until each of STEPS."""
    return (each / steps for each, steps in zip(freed, STEPS, strict=True))


def _until(freed: Sequence[float], short: float, least: float) -> float:
    """Steps until so much has come back."""
    if freed[-1] < short:
        # What comes later comes as fast as where it came fastest: the growth of those who are there ends with them.
        return short / max(*_rates(freed), least / STEPS[-1])
    at = bisect_left(freed, short)
    if at == 0:
        return STEPS[0] * short / freed[0]
    share = (short - freed[at - 1]) / (freed[at] - freed[at - 1])
    return STEPS[at - 1] + (STEPS[at] - STEPS[at - 1]) * share


class Prospect:
    """Of one engine, for a forecast: looked at anew when something has happened there, and now and then."""

    __slots__ = ("_load", "_old_s", "_version", "ahead_s", "free_slots", "free_tokens", "freed", "step_s", "token_s")

    def __init__(self, load: EngineLoad) -> None:
        self._load, self.freed = load, Freed(load)
        self._old_s, self._version = -math.inf, -1
        self.free_tokens = self.free_slots = self.step_s = self.ahead_s = self.token_s = 0.0

    def look(self, now_s: float) -> bool:
        """Whether it was looked at."""
        load = self._load
        if load.version == self._version and now_s < self._old_s:
            return False
        standing = load.standing(now_s)
        self._version, self._old_s = load.version, now_s + LOOKED_S
        self.free_tokens = standing.free_tokens if standing.is_held_up else max(0.0, standing.free_tokens)
        self.free_slots = _free_slots(standing)
        self.step_s, self.token_s = standing.step_s, standing.tempo.token_s
        self.ahead_s = standing.unread_tokens * self.token_s
        return True


def forecast(prospects: Sequence[Prospect]) -> Forecast:
    """Of these engines."""
    count = len(prospects)
    if not count:
        return Forecast(0, 0.0, NEVER, 0.0, 0.0, 0.0, 0.0)
    free_slots = sum([each.free_slots for each in prospects])
    return Forecast(
        engines=count,
        free_tokens=sum([each.free_tokens for each in prospects]),
        freed=_never_less([each.freed.tokens for each in prospects]),
        step_s=sum([each.step_s for each in prospects]) / count,
        ahead_s=min([each.ahead_s for each in prospects]),
        token_s=min([each.token_s for each in prospects]),
        free_slots=free_slots,
        freed_slots=_never_less([each.freed.slots for each in prospects]) if free_slots < math.inf else NEVER,
    )


def _never_less(rows: Sequence[Sequence[float]]) -> list[float]:
    return list(accumulate(map(sum, zip(*rows, strict=True)), max, initial=0.0))[1:]


def has_few_slots(requests: int, most_sequences: int) -> bool:
    """Whether they may become short."""
    return requests > SLOTS_TAKEN * most_sequences


def _free_slots(standing: Standing) -> float:
    requests, most_sequences = standing.requests, standing.most_sequences
    return max(0, most_sequences - requests) if has_few_slots(requests, most_sequences) else math.inf
