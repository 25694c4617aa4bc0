"""When an engine will have room: what its KV cache has free, and what those who decode are expected to give back.

Within k more steps a sequence that holds `kv` tokens gives them back with the probability that its answer ends by then,
and takes k more if it does not. Summed over all of them this is far nearer to what comes than the mean rest of each:
the room that is needed comes from whoever ends first. Slots, where they are what is short, come back the same way.
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
# Nothing is believed to give less: tokens, slots.
LEAST_FREED, LEAST_SLOTS = 1.0, 0.1
# Slots are counted where so large a share of them is taken.
SLOTS_TAKEN = 0.5
# What is said of an answer of which nothing is known.
NEVER = (0.0,) * len(STEPS)
# Others' requests, of which nobody here knows more, end after so many more tokens on average.
OTHERS_TOKENS = 256.0
OTHERS_END = tuple(1.0 - math.exp(-steps / OTHERS_TOKENS) for steps in STEPS)


class Freed:
    """Of one engine: KV tokens given back within each of STEPS, less the growth of the others, and slots, where these
    may become short. Kept for a while."""

    __slots__ = ("_load", "_old_s", "slots", "tokens")

    def __init__(self, load: EngineLoad) -> None:
        self._load = load
        self._old_s = -math.inf
        self.tokens: list[float] = [0.0] * len(STEPS)
        self.slots: list[float] = self.tokens

    def is_old(self, now_s: float) -> bool:
        return now_s >= self._old_s

    def renew(self, standing: Standing, now_s: float) -> None:
        """Two microseconds for each that decodes."""
        tokens = [0.0] * len(STEPS)
        slots = [0.0] * len(STEPS) if has_few_slots(standing) else None
        for stay in self._load.decoding():
            so_far = int(self._load.so_far(stay))
            _add(tokens, slots, stay.prompt_tokens + so_far, _ends(stay.lengths, so_far))
        for stay in self._load.waiting():
            _add(tokens, slots, float(stay.prompt_tokens), _ends(stay.lengths, 0))
        if standing.others_sequences:
            _add_others(tokens, slots, standing)
        self.tokens = tokens
        self.slots = slots or [0.0] * len(STEPS)
        self._old_s = now_s + GOOD_STEPS * standing.step_s


def _ends(lengths: Sample | None, so_far: int) -> Sequence[float]:
    return NEVER if lengths is None else lengths.ends_within(so_far, STEPS)


def _add(tokens: list[float], slots: list[float] | None, held: float, ends: Sequence[float]) -> None:
    for at, share in enumerate(ends):
        tokens[at] += held * share - STEPS[at] * (1.0 - share)
    if slots is not None:
        for at, share in enumerate(ends):
            slots[at] += share


def _add_others(tokens: list[float], slots: list[float] | None, standing: Standing) -> None:
    held, sequences = standing.others_kv_tokens, standing.others_sequences
    for at, share in enumerate(OTHERS_END):
        tokens[at] += held * share - sequences * STEPS[at] * (1.0 - share)
        if slots is not None:
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

    def ttft_s(self, before: Before, prompt_tokens: float, fresh_tokens: float) -> float:
        """Of a prompt of which so much has to be read, behind others that wait too; infinite without an engine."""
        if not self.engines:
            return math.inf
        wait_s = self.wait_s(before.tokens + GROWTH_TOKENS * before.requests + prompt_tokens)
        if self.free_slots < math.inf:
            wait_s = max(wait_s, self.slot_wait_s(before.requests + 1))
        return wait_s + self.ahead_s + (before.fresh_tokens / self.engines + fresh_tokens) * self.token_s


class Before(msgspec.Struct, frozen=True):
    """Those who wait before somebody: how many, their prompts, and what of these has to be read."""

    tokens: float = 0.0
    fresh_tokens: float = 0.0
    requests: float = 0.0


FIRST = Before()


def _until(freed: Sequence[float], short: float, least: float) -> float:
    """Steps until so much has come back."""
    if freed[-1] < short:
        return STEPS[-1] * short / max(freed[-1], least)
    at = bisect_left(freed, short)
    if at == 0:
        return 0.0
    share = (short - freed[at - 1]) / (freed[at] - freed[at - 1])
    return STEPS[at - 1] + (STEPS[at] - STEPS[at - 1]) * share


def forecast(standings: Sequence[Standing], freed: Sequence[Freed]) -> Forecast:
    """Of these engines."""
    count = len(standings)
    if not count:
        return Forecast(0, 0.0, NEVER, 0.0, 0.0, 0.0, 0.0)
    free_slots = sum(map(_free_slots, standings))
    return Forecast(
        engines=count,
        free_tokens=sum(max(0.0, free_tokens(each)) for each in standings),
        freed=_never_less([each.tokens for each in freed]),
        step_s=sum(each.step_s for each in standings) / count,
        ahead_s=min(each.unread_tokens * each.tempo.token_s for each in standings),
        token_s=min(each.tempo.token_s for each in standings),
        free_slots=free_slots,
        freed_slots=_never_less([each.slots for each in freed]) if free_slots < math.inf else NEVER,
    )


def _never_less(rows: Sequence[Sequence[float]]) -> list[float]:
    most, found = 0.0, []
    for each in zip(*rows, strict=True):
        most = max(most, sum(each))
        found.append(most)
    return found


def _requests(standing: Standing) -> int:
    return standing.all_sequences + standing.waiting + standing.others_waiting


def has_few_slots(standing: Standing) -> bool:
    """Whether they may become short."""
    return _requests(standing) > SLOTS_TAKEN * standing.most_sequences


def _free_slots(standing: Standing) -> float:
    return max(0, standing.most_sequences - _requests(standing)) if has_few_slots(standing) else math.inf


def free_tokens(standing: Standing) -> float:
    """For newcomers: what is neither held nor waited for, nor kept for the growth of those that are there and of one
    more."""
    return standing.room_tokens - GROWTH_TOKENS * (_requests(standing) + 1)
