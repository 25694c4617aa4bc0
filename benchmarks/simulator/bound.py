"""A bill below which no policy keeps the promise, whatever it foresees: proved. For engines without prefix cache.

The proof. Let R be an engine's room for KV in tokens, and take b, d >= 0 with decode_s(n, 0) >= b + d n for all n.

1. A step in which n sequences decode and read K tokens takes decode_s(n, 0) + k K. As K fits into R, b >= b K / R. So a
   sequence that reads x tokens can be charged d + (k + b / R) x, and the sum of charges is never more than what the
   step took. Over its answer of o tokens a request of p reads p + 1, ..., p + o - 1 tokens.
2. A step with chunks of prompts takes mixed_s(n, 0, chunks) + k' K. With k the lower of the two, what is left of it
   after those charges is least at K = 0 or at K = R: at least e = min(b, (k' - k) R) more than mixed_s - b - d n. Let
   f(c) be the greatest convex function below that, over all n, with f(0) = 0, c the prompts' tokens in the step. Being
   convex it is superadditive: prompts that share a step can each be charged f of their own. Only a step that is full
   (n + c = max_batched_tokens) cuts a prompt, and each token of a prompt in it can be charged a, the least share of a
   full step. A prompt is cut into pieces in full steps and a rest r: it is charged at least the minimum over r of
   a (p - r) + min(f(r), a r). Its attention to itself is charged as it is: the sum over its chunks is p^2 / 2, however
   it is cut. Who yields to others computes more, never less.
3. An engine charges no more than a second for each second. So for any price of its seconds u(t) >= 0 and any price of a
   miss m >= 0, a plan that keeps the promise costs at least
       sum over requests of the cheapest of: its cloud price (and m, where the cloud is late); its charges at the least
       u in the time it has; m and its charges at the least u in the time a late one has
       - engines * integral of u - m * misses allowed,
   since what is subtracted is at least what the plan's own charges and misses come to (weak duality). A request served
   in time has its prompt computed within the promised TTFT, and its tokens within the promised TPOT of that.

Any prices prove a bound; good ones are found by steps along the subgradient, in blocks of time that become finer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulator.setting import EngineKind, Setting

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BIN_S = 1.0
# What a request may do, in the order of its costs: 0 goes to the cloud.
HERE, BEHIND = 1, 2
# The tangent to a step's time is taken between these counts of sequences: about what a full engine has.
FEW, MANY = 16, 48
# Blocks of so many bins share a price, coarse to fine; so many steps at each.
BLOCKS, ROUNDS = (1 << 20, 256, 64, 16, 4), 60
STEP, SLOWER = 0.3, 15
GRID = 60


@dataclass(frozen=True, slots=True)
class Work:
    """Seconds that an engine is charged for each request's prompt and answer, and the bins in which they may lie."""

    prompt_s: Floats
    answer_s: Floats
    first: Ints
    prompt_last: Ints
    answer_last: Ints
    late_last: Ints
    bins: int

    @classmethod
    def of(cls, setting: Setting, latest_s: float) -> Self:
        """The charges of steps 1 and 2 of the proof."""
        arrivals, promise = setting.arrivals, setting.promise
        at_s = np.array([each.at_s for each in arrivals]) - arrivals[0].at_s
        prompts = np.array([each.prompt_tokens for each in arrivals], np.int64)
        outputs = np.array([each.output_tokens for each in arrivals], np.int64)
        prompt_s, answer_s = charges(setting.engine, prompts, outputs)
        ends_s = at_s + promise.ttft_s + promise.tpot_s * (outputs - 1)
        bins = int(ends_s.max() / BIN_S) + 2
        late_s = at_s + min(latest_s, bins * BIN_S)
        first, prompt_last, answer_last, late_last = (
            np.minimum((each / BIN_S).astype(np.int64), bins - 1)
            for each in (at_s, at_s + promise.ttft_s, ends_s, late_s)
        )
        return cls(prompt_s, answer_s, first, prompt_last, answer_last, late_last, bins)


def charges(kind: EngineKind, prompts: Ints, outputs: Ints) -> tuple[Floats, Floats]:
    """Seconds for each request's prompt, and for its answer. Raises ValueError for engines with a prefix cache."""
    if kind.prefix_cache:
        raise ValueError("a prompt found again costs nothing, so nothing is proved of engines with a prefix cache")
    each_s, kv_s, pair_s, full_s, rest_s = _coefficients(kind)
    rest = rest_s[np.minimum(prompts, kind.max_batched_tokens)]
    prompt_s = full_s * prompts + rest + prompts**2 * (pair_s / 2)
    return np.maximum(prompt_s, 0.0), (outputs - 1) * (each_s + kv_s * (prompts + outputs / 2))


@cache
def _coefficients(kind: EngineKind) -> tuple[float, float, float, float, Floats]:
    """d, k + b / R, what a pair of tokens takes, a, and what a rest of so many tokens takes less than a each."""
    steps, budget, seats = kind.steps, kind.max_batched_tokens, kind.max_sequences
    alone = np.array([steps.decode_s(count, 0) for count in range(1, seats + 1)])
    each_s = max((float(alone[min(MANY, seats) - 1]) - float(alone[min(FEW, seats) - 1])) / (MANY - FEW), 0.0)
    base_s = float((alone - each_s * np.arange(1, seats + 1)).min())
    read_s = min(steps.kv_s, steps.beside_kv_s)
    more_s = max(min(base_s, (steps.beside_kv_s - read_s) * kind.kv_tokens), 0.0)
    pair_s = (steps.mixed_s(0, 0, ((1, GRID),)) - steps.mixed_s(0, 0, ((1, 0),))) / GRID
    chunks = np.arange(1, budget + 1)
    least, full_s = np.full(budget + 1, math.inf), math.inf
    for count in range(min(seats, budget - 1) + 1):
        room = budget - count
        beyond_s = np.array([steps.mixed_s(count, 0, ((chunk, 0),)) for chunk in range(1, room + 1)])
        beyond_s -= chunks[:room] ** 2 * (pair_s / 2) + base_s + each_s * count - more_s
        least[1 : room + 1] = np.minimum(least[1 : room + 1], beyond_s)
        full_s = min(full_s, float(beyond_s[-1]) / room)
    least[0] = 0.0
    rest_s = np.minimum.accumulate(np.minimum(convex(least) - full_s * np.arange(budget + 1), 0))
    return each_s, read_s + base_s / kind.kv_tokens, pair_s, full_s, rest_s


def convex(values: Floats) -> Floats:
    """The greatest convex function below values at 0, 1, 2, ..."""
    corners: list[int] = []
    for place in range(len(values)):
        while len(corners) > 1:
            left, middle = corners[-2], corners[-1]
            if (values[middle] - values[left]) * (place - left) < (values[place] - values[left]) * (middle - left):
                break
            corners.pop()
        corners.append(place)
    found: Floats = np.interp(np.arange(len(values)), corners, values[corners])
    return found


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars for a second of an engine in each bin, and for a miss. The last bin is all time after, for nothing."""

    second_usd: Floats
    miss_usd: float

    @classmethod
    def priced(cls, second_usd: Floats, miss_usd: float) -> Self:
        """None below 0."""
        second_usd = np.maximum(second_usd, 0.0)
        second_usd[-1] = 0.0
        return cls(second_usd, max(miss_usd, 0.0))


class Dual:
    """Of one setting: what prices prove, and how to make them better."""

    def __init__(self, setting: Setting, latest_s: float) -> None:
        self._work, self._usd = Work.of(setting, latest_s), setting.usd
        slow = setting.cloud.tpot_s > setting.promise.tpot_s
        ttfts_s = np.asarray(setting.cloud.ttfts_s(len(setting.arrivals), setting.seed))
        self._late_abroad = ((ttfts_s > setting.promise.ttft_s) | slow).astype(np.float64)
        self._engines, self._allowed = setting.engines, setting.missed_most

    def proved(self, prices: Prices) -> tuple[float, Floats, float]:
        """The bound in dollars; by how much each bin and the misses are over what there is, the subgradient."""
        work, table = self._work, Lowest(prices.second_usd)
        prompt, answer = table.within(work.first, work.prompt_last), table.within(work.first, work.answer_last)
        late = table.within(work.first, work.late_last)
        late_answer = table.within(work.first, np.full_like(work.first, work.bins - 1))
        second = prices.second_usd
        costs = np.stack(
            (
                self._usd + prices.miss_usd * self._late_abroad,
                work.prompt_s * second[prompt] + work.answer_s * second[answer],
                prices.miss_usd + work.prompt_s * second[late] + work.answer_s * second[late_answer],
            )
        )
        chosen = costs.argmin(axis=0)
        here, behind = chosen == HERE, chosen == BEHIND
        used: Floats = np.full(work.bins, -self._engines * BIN_S)
        for bins, seconds, who in (
            (prompt, work.prompt_s, here),
            (answer, work.answer_s, here),
            (late, work.prompt_s, behind),
            (late_answer, work.answer_s, behind),
        ):
            used += np.bincount(bins[who], seconds[who], work.bins)
        misses = float(behind.sum() + self._late_abroad[chosen == 0].sum()) - self._allowed
        usd = float(costs.min(axis=0).sum() - self._engines * BIN_S * second.sum() - prices.miss_usd * self._allowed)
        return usd, used, misses

    def best(self) -> float:
        """Dollars. From one price for all the time to one for each few seconds."""
        work, mean_usd = self._work, float(self._usd.mean())
        worth = float(self._usd.sum() / max((work.prompt_s + work.answer_s).sum(), 1e-9))
        flat = [Prices.priced(np.full(work.bins, worth * 2 * step / GRID), mean_usd) for step in range(GRID + 1)]
        prices = max(flat, key=lambda each: self.proved(each)[0])
        usd = self.proved(prices)[0]
        for block in BLOCKS:
            usd, prices = self._climbed(usd, prices, block, worth, mean_usd)
        return max(usd, 0.0)

    def _climbed(self, usd: float, prices: Prices, block: int, worth: float, mean_usd: float) -> tuple[float, Prices]:
        """The best seen on the way, beginning from these."""
        best = usd, prices
        starts = np.arange(0, self._work.bins, block)
        sizes = np.diff(np.append(starts, self._work.bins))
        for done in range(ROUNDS):
            usd, used, misses = self.proved(prices)
            if usd > best[0]:
                best = usd, prices
            step = STEP / (1 + done / SLOWER)
            over = np.repeat(np.add.reduceat(used, starts) / sizes, sizes) / (self._engines * BIN_S)
            prices = Prices.priced(
                prices.second_usd + step * worth * np.clip(over, -1, 1),
                prices.miss_usd + step * mean_usd * max(min(misses / max(self._allowed, 1), 1), -1),
            )
        return best


class Lowest:
    """Where in a stretch of bins the price is least: a table of the lowest in each 1, 2, 4, ... of them."""

    def __init__(self, values: Floats) -> None:
        self._values = values
        self._levels: list[Ints] = [np.arange(len(values))]
        while (size := 1 << len(self._levels)) <= len(values):
            below, half = self._levels[-1], size // 2
            self._levels.append(
                self._lower(below[: len(values) - size + 1], below[half : len(values) - size + 1 + half])
            )

    def within(self, first: Ints, last: Ints) -> Ints:
        """The bin of the least value, from the first to the last of each stretch, both included."""
        levels = np.frexp(last - first + 1)[1] - 1
        found = np.empty_like(first)
        for level in np.unique(levels):
            who = levels == level
            table = self._levels[int(level)]
            found[who] = self._lower(table[first[who]], table[last[who] - (1 << int(level)) + 1])
        return found

    def _lower(self, left: Ints, right: Ints) -> Ints:
        lower: Ints = np.where(self._values[left] <= self._values[right], left, right)
        return lower


def least_usd(setting: Setting, latest_s: float = math.inf) -> float:
    """No policy that keeps the promise pays less; with `latest_s`, none that gives all their first tokens within it.

    Raises ValueError where the engines have a prefix cache.
    """
    return Dual(setting, latest_s).best()
