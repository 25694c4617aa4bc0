"""Engines whose lengths to come are known, in few words: a run can be stopped, copied and gone on with. Pure.

A replica of engine for search: nobody ever has to yield, since a request is let in only where all known ends leave it
room to its own. What it says is checked by running the plan in the world.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence

from benchmarks.simulator.blocks import BLOCK_TOKENS
from benchmarks.simulator.moment import ABROAD, LATE, Choices, Lane, Moment
from benchmarks.simulator.outcome import CLOUD, NOWHERE
from benchmarks.simulator.plan import Plan
from benchmarks.simulator.setting import Setting

# Seldom does a prompt find room beyond so many others; to look further takes time and finds nothing.
LOOKED_AT = 40
PROMPTS_MOST = 8
# A second prompt joins the one that is computed if both are no longer than this: a step so short costs nothing more.
TOGETHER_TOKENS = 300
# So many sequences make an engine full, about: what a step takes hardly depends on it.
FULL_OF = 30
# One request that yields unforeseen moves all that come after it: a little room is left for what is counted roughly.
SPARE_BLOCKS = 2
# A first token comes this long before it would be late, or it is not counted on.
SPARE_S = 0.01


class Course:
    """Runs of one setting under choices that its owner changes between them.

    `latest_s`: nobody is held longer than that; who would be goes to the cloud, late.
    """

    def __init__(self, setting: Setting, latest_s: float) -> None:
        """Raises ValueError where its engines have a prefix cache, of which nothing is foreseen here."""
        if setting.engine.prefix_cache:
            raise ValueError("hindsight knows no prefix cache; simulate it with --no-prefix-cache")
        kind, arrivals = setting.engine, setting.arrivals
        self.at_s = [each.at_s for each in arrivals]
        self.prompts = [each.prompt_tokens for each in arrivals]
        self.outputs = [each.output_tokens for each in arrivals]
        self.usd: list[float] = setting.usd.tolist()
        ttfts_s = setting.cloud.ttfts_s(len(arrivals), setting.seed)
        slow = setting.cloud.tpot_s > setting.promise.tpot_s
        self.late_abroad = [ttft_s > setting.promise.ttft_s or slow for ttft_s in ttfts_s]
        self.room = (kind.kv_tokens // BLOCK_TOKENS - 1 - SPARE_BLOCKS) * BLOCK_TOKENS
        self.choices = Choices(len(arrivals))
        self.missed = bytearray(len(arrivals))
        self.engines = [NOWHERE] * len(arrivals)
        self.sent_s = self.at_s[:]
        self.latest_s = latest_s
        self._speed, self._most, self._seats = kind.steps, kind.max_batched_tokens, kind.max_sequences
        self._engines, self._promise = setting.engines, setting.promise
        self._own_s = [kind.steps.mixed_s(0, 0, ((prompt, 0),)) + SPARE_S for prompt in self.prompts]

    def beginning(self) -> Moment:
        """Before the first arrival."""
        return Moment([Lane() for _ in range(self._engines)])

    def plan(self) -> Plan:
        """What the last whole run did."""
        return Plan(self.engines[:], self.sent_s[:])

    def run(self, moment: Moment, until_s: float) -> Moment:
        """Changes the moment to the later one, and `missed`, `engines` and `sent_s` of whoever was met on the way."""
        at_s, lanes, count = self.at_s, moment.lanes, len(self.at_s)
        while True:
            next_s = min(at_s[moment.next] if moment.next < count else math.inf, until_s)
            lane = min(lanes, key=_clock_s)
            if lane.clock_s < next_s and (lane.runs or lane.prompts):
                self._step(moment, lane, next_s)
                if moment.queue:
                    self._let_in(moment, lane, lane.clock_s)
            elif lane.clock_s < next_s < math.inf:
                # Nothing is on it: it has nothing to do up to then.
                lane.clock_s = lane.before_s = next_s
                lane.leaving = 0
            elif next_s >= until_s:
                return moment
            else:
                self._arrive(moment, moment.next)
                moment.next += 1

    def end(self, moment: Moment) -> Moment:
        """Of the whole run: to the last answer."""
        while moment.next < len(self.at_s) or moment.queue or any(lane.runs or lane.prompts for lane in moment.lanes):
            self.run(moment, max(lane.clock_s for lane in moment.lanes) + self.latest_s + 1.0)
            for lane in moment.lanes:
                self._let_in(moment, lane, lane.clock_s)
        return moment

    def is_late(self, number: int, now_s: float) -> bool:
        """Chosen so, or its first token cannot come in time any more."""
        waited_s = now_s - self.at_s[number]
        return self.choices.places[number] == LATE or waited_s > self._promise.ttft_s - self._own_s[number]

    def _arrive(self, moment: Moment, number: int) -> None:
        self.missed[number] = 0
        now_s = self.at_s[number]
        if self.choices.places[number] == ABROAD or self.prompts[number] + self.outputs[number] > self.room:
            self._spill(moment, number, now_s)
            return
        insort(moment.queue, (now_s + self.choices.shift_s[number], number))
        lanes = moment.lanes
        for lane in sorted(lanes, key=_load) if len(lanes) > 1 else lanes:
            lane.is_news = True
            if not (lane.runs or lane.prompts):
                self._let_in(moment, lane, now_s)

    def _spill(self, moment: Moment, number: int, now_s: float) -> None:
        moment.usd += self.usd[number]
        self.engines[number], self.sent_s[number] = CLOUD, now_s
        if self.late_abroad[number] or now_s > self.at_s[number]:
            self._miss(moment, number)

    def _miss(self, moment: Moment, number: int) -> None:
        moment.missed += 1
        self.missed[number] = 1

    def _let_in(self, moment: Moment, lane: Lane, now_s: float) -> None:
        """Those in time by their turn, past those that do not fit while these let others by; else the late."""
        late, looked = list[tuple[float, int]](), 0
        for entry in moment.queue[:]:
            number = entry[1]
            if self.at_s[number] > lane.before_s:
                continue
            if self.is_late(number, now_s):
                late.append(entry)
                continue
            looked += 1
            if looked > LOOKED_AT or lane.unprefilled >= TOGETHER_TOKENS:
                break
            if self._fits(lane, number):
                self._seat(moment, lane, entry)
            elif now_s - self.at_s[number] >= self.choices.patience_s[number]:
                break
        self._fill(moment, lane, late, now_s, is_free=not looked)

    def _fill(self, moment: Moment, lane: Lane, late: list[tuple[float, int]], now_s: float, *, is_free: bool) -> None:
        """With the late, where nobody in time wants the lane. Who was held too long goes."""
        for entry in late:
            number = entry[1]
            if is_free and not lane.unprefilled and self._fits(lane, number):
                self._seat(moment, lane, entry)
            elif now_s - self.at_s[number] > self.latest_s:
                moment.queue.remove(entry)
                self._spill(moment, number, now_s)

    def _seat(self, moment: Moment, lane: Lane, entry: tuple[float, int]) -> None:
        moment.queue.remove(entry)
        number = entry[1]
        prompt = self.prompts[number]
        lane.prompts.append((number, prompt))
        lane.held += _whole(prompt)
        lane.unprefilled += prompt
        self.engines[number], self.sent_s[number] = moment.lanes.index(lane), max(lane.before_s, self.at_s[number])

    def _fits(self, lane: Lane, number: int) -> bool:
        """Whether it has room now, and all on the lane and this one to their ends: the most is held when one ends."""
        prompt, begun, running = self.prompts[number], len(lane.prompts), len(lane.runs)
        room = self.room - lane.leaving - lane.held - _whole(prompt)
        if (
            lane.kv + running > room
            or (lane.unprefilled and lane.unprefilled + prompt > TOGETHER_TOKENS)
            or begun >= PROMPTS_MOST
            or running + begun >= self._seats
            or (lane.kv + running * BLOCK_TOKENS > room and _held(lane.runs, lane.steps) > room)
        ):
            return False
        ends = [(run[0], run[1]) for run in lane.runs]
        tokens = 0
        for each, left in (*lane.prompts, (number, prompt)):
            tokens += left
            first = lane.steps - (-tokens // self._most)
            ends.append((first + self.outputs[each] - 1, self.prompts[each] - first))
        ends.sort(reverse=True)
        return self._ends_fit(ends)

    def _ends_fit(self, ends: list[tuple[int, int]]) -> bool:
        """Who ends holds its room one step longer, in which the others grow. Blocks are counted where it is close."""
        held, room = 0, self.room
        for going, (finish, less) in enumerate(ends, 1):
            held += less
            tokens = held + going * (finish + 1)
            if tokens > room or (tokens + going * (BLOCK_TOKENS - 1) > room and _held(ends[:going], finish) > room):
                return False
        return True

    def _step(self, moment: Moment, lane: Lane, until_s: float) -> None:
        """One step with prompts in it, or all steps to the next end of somebody, or to the first after `until_s`."""
        count, kv_s = len(lane.runs), self._speed.kv_s
        if lane.prompts:
            self._mixed(moment, lane)
            return
        steps = 1 if lane.is_news and moment.queue else lane.runs[0][0] - lane.steps
        first_s, more_s = self._speed.decode_s(count, lane.kv + count), count * kv_s
        left_s = until_s - lane.clock_s
        if first_s * steps + more_s * steps * (steps - 1) / 2 > left_s:
            slope_s = first_s - more_s / 2
            root = (math.sqrt(slope_s * slope_s + 2 * more_s * left_s) - slope_s) / more_s
            steps = max(1, min(steps, math.ceil(root - 1e-9)))
        lane.clock_s += first_s * steps + more_s * steps * (steps - 1) / 2
        lane.before_s = lane.clock_s - first_s - more_s * (steps - 1)
        lane.steps += steps
        lane.kv += count * steps
        self._leave(moment, lane)

    def _mixed(self, moment: Moment, lane: Lane) -> None:
        count = len(lane.runs)
        budget = self._most - count
        rest: list[tuple[int, int]] = []
        done: list[int] = []
        chunks: list[tuple[int, int]] = []
        for number, left in lane.prompts:
            chunk = min(budget, left)
            if chunk:
                chunks.append((chunk, self.prompts[number] - left))
                budget -= chunk
                lane.unprefilled -= chunk
            if chunk == left:
                done.append(number)
            else:
                rest.append((number, left - chunk))
        lane.before_s = lane.clock_s
        lane.clock_s += self._speed.mixed_s(count, lane.kv + count, chunks)
        lane.prompts = rest
        lane.steps += 1
        lane.kv += count
        self._leave(moment, lane)
        for number in done:
            self._join(moment, lane, number)

    def _join(self, moment: Moment, lane: Lane, number: int) -> None:
        prompt, now_s = self.prompts[number], lane.clock_s
        lane.held -= _whole(prompt)
        if now_s - self.at_s[number] > self._promise.ttft_s:
            self._miss(moment, number)
        if self.outputs[number] > 1:
            finish = lane.steps + self.outputs[number] - 1
            insort(lane.runs, (finish, prompt - lane.steps, now_s, number))
            lane.kv += prompt

    def _leave(self, moment: Moment, lane: Lane) -> None:
        gone = lane.leaving = 0
        for finish, less, first_s, number in lane.runs:
            if finish > lane.steps:
                break
            gone += 1
            lane.kv -= finish + less
            lane.leaving += _whole(finish + less)
            is_slow = lane.clock_s - first_s > self._promise.tpot_s * (self.outputs[number] - 1)
            if is_slow and first_s - self.at_s[number] <= self._promise.ttft_s:
                self._miss(moment, number)
        del lane.runs[:gone]
        lane.is_news = gone > 0


def works_s(setting: Setting) -> Sequence[float]:
    """Seconds of an engine that each request takes when it is full: a prompt's share, and its KV over its tokens."""
    kind, steps = setting.engine, setting.engine.steps
    kv_s = kv_token_s(setting)
    most = min(kind.max_batched_tokens, kind.kv_tokens)
    prompt_s = max((steps.mixed_s(0, 0, ((most, 0),)) - steps.decode_s(1, 1)) / most, 0.0)
    return [
        prompt_s * each.prompt_tokens + kv_s * each.output_tokens * (each.prompt_tokens + each.output_tokens / 2)
        for each in setting.arrivals
    ]


def kv_token_s(setting: Setting) -> float:
    """Seconds of a full engine that holding one token of KV for one step takes."""
    kv_tokens = setting.engine.kv_tokens
    return setting.engine.steps.decode_s(min(setting.engine.max_sequences, FULL_OF), kv_tokens) / kv_tokens


def _whole(tokens: int) -> int:
    """In whole blocks."""
    return -(-tokens // BLOCK_TOKENS) * BLOCK_TOKENS


def _held(runs: Sequence[tuple[int, int] | tuple[int, int, float, int]], steps: int) -> int:
    """Tokens of the blocks that they hold in the step after so many, each grown by one unless it has ended."""
    return sum(_whole(run[1] + steps + (run[0] > steps)) for run in runs)


def _clock_s(lane: Lane) -> float:
    return lane.clock_s


def _load(lane: Lane) -> tuple[int, int]:
    return lane.unprefilled, lane.kv + lane.held
