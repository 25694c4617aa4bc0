"""What a request would cost in the cloud, and what it takes of an engine here: whoever saves least a second goes. Pure.

An engine whose KV cache is full gives every token in it the same share of a step. So a request takes the time to read
its prompt, and of each step that its answer lasts as large a part as the KV tokens that it holds then: `prompt` and,
on average over the answer, half of that. A long prompt with a long answer takes much more than it saves.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from router.spilling.sample import Sample
from router.spilling.speeds import Tempo


class Price(Protocol):
    """What the cloud twin asks."""

    def usd(self, prompt_tokens: float, answer_tokens: float) -> float:
        """Of one request."""
        ...


class Worth(msgspec.Struct, frozen=True):
    """`usd` in the cloud, as expected; `engine_s`: seconds of an engine that does nothing else."""

    usd: float
    engine_s: float

    @property
    def usd_per_s(self) -> float:
        """What a second of an engine saves that serves it."""
        return self.usd / self.engine_s


class Full(msgspec.Struct, frozen=True):
    """An engine that is full: seconds to read a token of a prompt, and of a step for each KV token held and for each
    sequence. What is short has its price: KV room, or slots."""

    token_s: float
    held_s: float
    slot_s: float = 0.0

    def seconds(self, prompt_tokens: float, answer_tokens: float, answer_square: float) -> float:
        """Of a request; `answer_square` is the mean of the square where the answer's length is a guess."""
        held_token_steps = answer_tokens * prompt_tokens + answer_square / 2
        return self.token_s * prompt_tokens + self.held_s * held_token_steps + self.slot_s * answer_tokens


def full(tempo: Tempo, kv_capacity_tokens: float | None, most_sequences: int, tokens_each: float) -> Full:
    """As `tempo` has it, where requests hold `tokens_each` on average. Of an engine whose KV room is not known slots
    are what is short."""
    if kv_capacity_tokens:
        step_s = tempo.decode_s(kv_capacity_tokens / max(tokens_each, 1.0), kv_capacity_tokens)
        return Full(tempo.token_s, step_s / kv_capacity_tokens)
    step_s = tempo.decode_s(most_sequences, most_sequences * tokens_each)
    return Full(tempo.token_s, 0.0, step_s / most_sequences)


def worth(prompt_tokens: int, lengths: Sample, engine: Full, price: Price) -> Worth:
    """Of a request whose answer is as long as answers like it are."""
    return Worth(
        price.usd(prompt_tokens, lengths.mean), engine.seconds(prompt_tokens, lengths.mean, lengths.mean_square)
    )
