"""How an engine stands at one moment, and what that means for a prompt that might be sent there. Pure."""

from __future__ import annotations

import math

import msgspec

from router.spilling.speeds import Tempo, pairs_of

# Of an answer's growth, so many tokens are kept free for each sequence: less costs preemptions, more costs room.
GROWTH_TOKENS = 25.0
# Who waits while so much of the KV cache is held waits for room, and needs about so much of it.
FULL_SHARE, EACH_TOKENS = 0.95, 1000.0
# However much of its time an engine has spent on prompts of late, so much is left for answers.
MOST_SHARE = 0.9


def is_held_up(others_waiting: int, kv_tokens: float, kv_capacity_tokens: int | None) -> bool:
    """Whether others wait and the KV cache is as good as full."""
    return bool(others_waiting) and kv_capacity_tokens is not None and kv_tokens >= FULL_SHARE * kv_capacity_tokens


class Standing(msgspec.Struct, frozen=True):
    """`sequences` decode and hold `kv_tokens`; `waiting` have no first token, of whose prompts `unread_tokens` are to
    be read (`unread_pairs`: `speeds.pairs_of`), in `reading_s` seconds so far (below zero: they begin so much later);
    their whole prompts hold `waiting_tokens`. `others_*` did not come through this router. `prefill_share` of the
    time goes to prompts of late, in `prefill_steps_per_s`. `is_blocked`: the
    first that waits finds no room. Of `most_sequences` it `takes_sequences` now: fewer while it is new."""

    tempo: Tempo
    sequences: int
    kv_tokens: float
    waiting: int
    unread_tokens: float
    unread_pairs: float
    reading_s: float
    waiting_tokens: float
    others_sequences: int
    others_waiting: int
    others_kv_tokens: float
    prefill_share: float
    prefill_steps_per_s: float
    is_blocked: bool
    kv_capacity_tokens: int | None
    most_sequences: int
    takes_sequences: int

    @property
    def all_sequences(self) -> int:
        """Those that decode, others' too."""
        return self.sequences + self.others_sequences

    @property
    def read_tokens(self) -> float:
        """KV tokens that a step reads."""
        return self.kv_tokens + self.others_kv_tokens

    @property
    def step_s(self) -> float:
        """A step that only decodes, now."""
        return self.tempo.decode_s(self.all_sequences, self.read_tokens)

    @property
    def room_tokens(self) -> float:
        """KV tokens that nobody holds or waits for; infinite where the capacity is not known."""
        if self.kv_capacity_tokens is None:
            return math.inf
        return self.kv_capacity_tokens - self.read_tokens - self.waiting_tokens

    @property
    def requests(self) -> int:
        """All that are there."""
        return self.sequences + self.others_sequences + self.waiting + self.others_waiting

    @property
    def is_held_up(self) -> bool:
        """Whether requests that are not this process's wait there for room: nobody gets past them."""
        return is_held_up(self.others_waiting, self.read_tokens, self.kv_capacity_tokens)

    @property
    def free_tokens(self) -> float:
        """For newcomers: what is neither held nor waited for, nor kept for the growth of those that are there and of
        one more. Below zero by what those need who hold everybody up."""
        if self.is_held_up:
            return -EACH_TOKENS * self.others_waiting
        return self.room_tokens - GROWTH_TOKENS * (self.requests + 1)

    def fits(self, prompt_tokens: int) -> bool:
        """Whether it would be read at once, or right after those that wait."""
        room = prompt_tokens <= self.room_tokens and self.requests < self.takes_sequences
        return room and not self.is_blocked and not self.is_held_up

    def ttft_s(self, prompt_tokens: float, cached_tokens: float = 0.0) -> float:
        """Until the first token of a prompt that is sent now and finds room: those before it are read first, and the
        step under way ends before that."""
        tempo, sequences, kv_tokens = self.tempo, self.all_sequences, self.read_tokens
        fresh, pairs = prompt_tokens - cached_tokens, pairs_of(prompt_tokens, cached_tokens)
        own_s = tempo.prefill_s(fresh, pairs, sequences, kv_tokens)
        if not self.unread_tokens:
            return own_s + (self.step_s * tempo.lag_steps if sequences else 0.0)
        all_s = tempo.prefill_s(self.unread_tokens + fresh, self.unread_pairs + pairs, sequences, kv_tokens)
        return max(all_s - self.reading_s, own_s) + self.step_s * tempo.planned_steps

    @property
    def unread_s(self) -> float:
        """Until the prompts that wait are read."""
        read_s = self.tempo.prefill_s(self.unread_tokens, self.unread_pairs, self.all_sequences, self.read_tokens)
        return read_s - self.reading_s

    def stall(self, prompt_tokens: float, cached_tokens: float = 0.0) -> tuple[float, int]:
        """What those who decode have to sit through if this prompt is sent now, from now to its first token: seconds,
        and the steps in them, each of which gives them a token."""
        fresh = prompt_tokens - cached_tokens + self.unread_tokens
        return self.ttft_s(prompt_tokens, cached_tokens), self.tempo.steps(fresh, self.all_sequences)

    def tpot_s(self, prompt_tokens: float, output_tokens: float) -> float:
        """Mean time between the tokens of an answer that begins soon: all go on as now, and prompts keep coming."""
        sequences = self.all_sequences + self.waiting + 1
        kv_tokens = self.read_tokens + self.unread_tokens + prompt_tokens
        if self.kv_capacity_tokens is not None:
            kv_tokens = min(kv_tokens + sequences * output_tokens / 4, max(kv_tokens, self.kv_capacity_tokens))
        step_s = self.tempo.decode_s(sequences, kv_tokens)
        # Steps that read prompts are long, but each gives everybody a token as well.
        return 1.0 / ((1.0 - min(self.prefill_share, MOST_SHARE)) / step_s + self.prefill_steps_per_s)
