"""The prompts at one engine that have no first token yet, in order; and what is measured while they are read.

vLLM reads prompts in the order in which they came, as many as fit in a step, and the first token of each comes at the
end of the step that reads its last piece. So between two such ends all steps read prompts, and their tokens and the
time are known: that is what can be learned. First tokens of one step come together.
"""

from __future__ import annotations

import math
from itertools import islice

from router.spilling.speeds import Read, Speeds, Tempo
from router.spilling.stay import Stay

# First tokens that come within this share of a step are of the same step.
TOGETHER = 0.5
# So many of the newest prompts are looked at for those that came too late for a step.
LATEST = 4
# So many steps at most are planned ahead of the one under way (vLLM's async scheduling: one).
PLANNED_STEPS = 1.2
# Where room is scarce, a first token that takes longer than this was not read all the time: its prompt found no room.
OVERDUE, OVERDUE_STEPS = 1.5, 2.0


class Prompts:
    """One writer: its EngineLoad. `tokens` of those that wait are to be read, `held_tokens` are their whole prompts.

    `reads_from_s` is when they began to be read: infinite while nobody waits or nobody fits; `overdue_s` when it should
    be over, infinite where there is room enough. `ahead_tokens` had been read before that, in a step of others. Of
    `unseen` nobody will see the first token."""

    __slots__ = (
        "_before_tokens",
        "_beside",
        "_is_clean",
        "_is_known",
        "_read_pairs",
        "_read_s",
        "_read_tokens",
        "_seconds",
        "_sent_s",
        "_steps",
        "_waited",
        "_waits",
        "ahead_tokens",
        "held_tokens",
        "overdue_s",
        "pairs",
        "reads_from_s",
        "tokens",
        "unseen",
        "waiting",
    )

    def __init__(self) -> None:
        self.waiting: dict[Stay, None] = {}
        self.tokens = 0
        self.held_tokens = 0
        self.unseen = 0
        self.pairs = 0.0
        self.reads_from_s = math.inf
        self.overdue_s = math.inf
        self.ahead_tokens = 0.0
        # When those that wait were sent, if none was read then; whether a step was under way. `is_clean` while their
        # time is nothing but that and reading.
        self._sent_s = -math.inf
        self._waits = False
        self._is_clean = True
        # The newest step that gave first tokens: its end, how many steps led to it in how long, what was read in them
        # beside whom, and whether that is known for sure.
        self._read_s = -math.inf
        self._steps = 0
        self._seconds = 0.0
        self._before_tokens = 0.0
        self._read_tokens = 0.0
        self._read_pairs = 0.0
        self._beside = (0, 0.0)
        self._waited = False
        self._is_known = False

    def add(self, stay: Stay) -> None:
        self.waiting[stay] = None
        self.tokens += stay.fresh_tokens
        self.held_tokens += stay.prompt_tokens
        self.pairs += stay.pairs
        self.unseen += not stay.shows_first

    def remove(self, stay: Stay) -> None:
        """It will never be read, or nobody saw when it was: then the time says nothing about the others."""
        self._take(stay)
        self._is_clean = self._is_clean and not self.waiting

    def begin(self, now_s: float, lag_s: float | None) -> None:
        """The first of them has room. While others decode it is looked at `lag_s` later; None where nobody does."""
        if self.reads_from_s == math.inf:
            self.reads_from_s = now_s + (lag_s or 0.0)
            self._sent_s, self._waits = now_s, lag_s is not None

    def expect(self, believed_s: float, step_s: float) -> None:
        """Room is scarce, and all of them should be read in so long."""
        self.overdue_s = self.reads_from_s + OVERDUE * believed_s + OVERDUE_STEPS * step_s

    def stop(self) -> None:
        """Nobody waits, or the first of them does not fit."""
        self.reads_from_s = self.overdue_s = math.inf
        self.ahead_tokens = 0.0
        self._is_clean = not self.waiting

    def read(self, stay: Stay, now_s: float, speeds: Speeds, sequences: int, kv_tokens: float) -> int:
        """Its first token has come. How many steps it took since the last first token, or since they began."""
        self._take(stay)
        tempo, before = speeds.tempo, self._steps
        if now_s - self._read_s >= TOGETHER * tempo.step_s:
            self.learn(speeds)
            self._seconds = now_s - (self._sent_s if self._waits else min(self.reads_from_s, now_s))
            # What others' steps had read of the first of them is not read again.
            self._before_tokens, self._read_tokens, self._read_pairs = self.ahead_tokens, -self.ahead_tokens, 0.0
            self._beside, self._waited, self._is_known = (sequences, kv_tokens), self._waits, self._is_clean
            self._read_s, before = now_s, 0
        tokens = self._read_tokens = self._read_tokens + stay.fresh_tokens
        self._read_pairs += stay.pairs
        room = tempo.room(self._beside[0])
        steps = self._steps = max(1, math.ceil(tokens / room))
        self._is_known = self._is_known and now_s <= self.overdue_s
        self.ahead_tokens, self._is_clean, self._waits = 0.0, True, False
        self.reads_from_s = math.inf
        if self.waiting:
            self.reads_from_s = now_s
            # What is left of the last step's room went to those who were there when it was planned.
            last_s = tempo.prefill_s(tokens - (steps - 1) * room, 0.0, sequences, kv_tokens)
            last_s = max(last_s, self._seconds / steps)
            before_s = tempo.prefill_s(room, 0.0, sequences, kv_tokens) if steps > 1 else tempo.step_s
            known = self._shared(now_s - last_s - PLANNED_STEPS * before_s, now_s - last_s)
            # One that came later is not read from now on, but from some step on.
            self._is_clean = known is not None and next(iter(self.waiting)).sent_s < now_s - last_s
            self._is_known = self._is_known and known is not None
            self.ahead_tokens = min(steps * room - tokens, known or 0.0)
        return steps - before

    def unseen_s(self, tempo: Tempo, sequences: int, kv_tokens: float) -> float:
        """When the first of them should have been read, where nobody will see it; infinite where that is not so."""
        first = next(iter(self.waiting))
        if first.shows_first or self.reads_from_s == math.inf:
            return math.inf
        left = first.fresh_tokens - self.ahead_tokens
        return self.reads_from_s + tempo.prefill_s(left, first.pairs, sequences, kv_tokens)

    def pass_by(self, stay: Stay, now_s: float) -> None:
        """It should have been read by now, and says nothing about the time that it took."""
        self._take(stay)
        self.ahead_tokens, self._is_clean, self._is_known, self._waits = 0.0, False, False, False
        self.reads_from_s = now_s if self.waiting else math.inf

    def learn(self, speeds: Speeds) -> None:
        """What the newest first tokens have shown. Put off until nobody else can be of the same step."""
        if self._is_known and self._read_tokens > 0:
            sequences, kv_tokens = self._beside
            tokens = self._read_tokens + self.ahead_tokens
            pairs = self._read_pairs * tokens / (self._read_tokens + self._before_tokens)
            speeds.learn_first_token(Read(self._seconds, tokens, pairs, sequences, kv_tokens, self._waited))
        self._is_known = False

    def _take(self, stay: Stay) -> None:
        del self.waiting[stay]
        self.tokens -= stay.fresh_tokens
        self.held_tokens -= stay.prompt_tokens
        self.pairs = self.pairs - stay.pairs if self.waiting else 0.0
        self.unseen -= not stay.shows_first

    def _shared(self, early_s: float, late_s: float) -> float | None:
        """Tokens of those who wait, less of the newest that were sent late. None where one is neither early nor late:
        how far ahead an engine plans its steps is not known."""
        if self.overdue_s < math.inf:
            # Not all of them may have found room.
            return None
        late = 0
        for stay in islice(reversed(self.waiting), LATEST):
            if stay.sent_s <= early_s:
                break
            if stay.sent_s < late_s:
                return None
            late += stay.fresh_tokens
        return float(self.tokens - late)
