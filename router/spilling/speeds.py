"""How fast one engine works: seconds for a step that decodes, and for a step that reads prompts. Learned.

Pure: what was measured goes in, a frozen Tempo comes out. A step of continuous batching gives each sequence one token;
one that also reads a piece of a prompt takes as long as the arithmetic of all its tokens, or as reading the weights
once, whichever is longer (roofline model: Williams, Waterman and Patterson, 2009). Reading the KV cache comes on top.
"""

from __future__ import annotations

import math
from typing import Self

import msgspec

from router.spilling.fit import Fit

# A step is never believed to be shorter.
SHORTEST_STEP_S = 1e-4
# Of an ordinary step: sequences, KV tokens that they hold.
USUAL_SEQUENCES, USUAL_KV_TOKENS = 16.0, 20_000.0
# Of ordinary prompts read at a stretch: steps, tokens, and pairs of a token and one before it.
USUAL_STEPS, USUAL_TOKENS, USUAL_PAIRS = 1.0, 1_500.0, 2e6
# So many steps seen at a stretch are a whole observation: one of few is blurred by when it began and ended.
WHOLE_STEPS = 32
# A step with a piece of a prompt that took not much longer than one without says nothing about prompts.
TELLING = 1.3
# Of a decode step that is assumed, before any was seen: what goes to each sequence and to each KV token.
SEQUENCE_SHARE, KV_TOKEN_SHARE = 0.005, 1e-5


class Tempo(msgspec.Struct, frozen=True):
    """Seconds of one engine. A step that decodes takes `step_s`, for each sequence `sequence_s` and for each KV token
    that they hold `kv_token_s` more. One that reads prompt takes `prefill_step_s`, for each token `token_s`, for each
    pair of a prompt's token and one before it `pair_s`, and the same for the KV tokens; never less than one that only
    decodes. `chunk_tokens` is what one step takes at most (vLLM: max_num_batched_tokens)."""

    step_s: float
    sequence_s: float
    kv_token_s: float
    prefill_step_s: float
    token_s: float
    pair_s: float
    chunk_tokens: int = 2048

    @classmethod
    def given(cls, prefill_tokens_per_s: float, stream_tokens_per_s: float, chunk_tokens: int = 2048) -> Self:
        """What can be assumed of an engine of which only two rates are known: those of one request that is alone."""
        step_s, token_s = 1.0 / stream_tokens_per_s, 1.0 / prefill_tokens_per_s
        return cls(
            step_s, step_s * SEQUENCE_SHARE, step_s * KV_TOKEN_SHARE, 0.0, token_s, token_s / 25_000, chunk_tokens
        )

    def decode_s(self, sequences: float, kv_tokens: float) -> float:
        """One step without any prompt in it."""
        step_s = self.step_s + self.sequence_s * sequences + self.kv_token_s * kv_tokens
        return max(step_s, SHORTEST_STEP_S)

    def room(self, sequences: float) -> int:
        """Prompt tokens that fit in one step beside so many sequences."""
        return max(1, self.chunk_tokens - int(sequences))

    def steps(self, tokens: float, sequences: float) -> int:
        """How many steps it takes to read so many prompt tokens."""
        return math.ceil(tokens / self.room(sequences))

    def prefill_s(self, tokens: float, pairs: float, sequences: float, kv_tokens: float) -> float:
        """From the beginning of the first step to the end of the last that reads these prompts, all of them together,
        beside `sequences` that decode. `pairs` as `pairs_of` counts them."""
        if tokens <= 0:
            return 0.0
        room = self.room(sequences)
        full = int(tokens // room)
        rest = tokens - full * room
        seconds = pairs * self.pair_s
        if full:
            seconds += full * self._mixed_s(room, sequences, kv_tokens)
        if rest:
            seconds += self._mixed_s(rest, sequences, kv_tokens)
        return seconds

    def _mixed_s(self, tokens: float, sequences: float, kv_tokens: float) -> float:
        reading_s = self.prefill_step_s + self.token_s * (tokens + sequences) + self.kv_token_s * kv_tokens
        return max(reading_s, self.decode_s(sequences, kv_tokens))


def pairs_of(tokens: float, cached_tokens: float = 0.0) -> float:
    """Of a prompt of which the first `cached_tokens` are known already: what attention has to compare."""
    fresh = tokens - cached_tokens
    return fresh * (cached_tokens + fresh / 2)


# What is assumed of an engine of which nothing is known: rather slow, so that a promise is not given too easily.
UNKNOWN = Tempo.given(4_000.0, 30.0)


class Speeds:
    """What is learned of one engine. One writer. `tempo` is what is believed now; it begins with what was given."""

    __slots__ = ("_decode", "_prefill", "tempo")

    def __init__(self, given: Tempo = UNKNOWN) -> None:
        self.tempo = given
        self._decode = Fit((given.step_s, given.sequence_s, given.kv_token_s), (1.0, USUAL_SEQUENCES, USUAL_KV_TOKENS))
        self._prefill = Fit(
            (given.prefill_step_s, given.token_s, given.pair_s), (USUAL_STEPS, USUAL_TOKENS, USUAL_PAIRS)
        )

    @property
    def observations(self) -> tuple[int, int]:
        """Of steps, and of first tokens."""
        return self._decode.seen, self._prefill.seen

    def learn_step(self, seconds: float, steps: float, sequences: float, kv_tokens: float) -> None:
        """So many steps that only decoded took so long, with so many sequences and KV tokens on average."""
        if steps < 1 or seconds <= 0 or sequences < 1:
            return
        if self._decode.learn(1.0, sequences, kv_tokens, seconds / steps, min(1.0, steps / WHOLE_STEPS)):
            self._renew()

    def learn_first_token(
        self, seconds: float, tokens: float, pairs: float, sequences: float, kv_tokens: float
    ) -> None:
        """So many prompt tokens were read at a stretch in so long, beside so many sequences."""
        tempo = self.tempo
        if tokens < 1 or seconds <= 0:
            return
        steps = tempo.steps(tokens, sequences)
        plain_s = steps * tempo.decode_s(sequences, kv_tokens)
        believed_s = steps * (tempo.prefill_step_s + tempo.token_s * sequences) + tokens * tempo.token_s
        fresh_s = seconds - steps * kv_tokens * tempo.kv_token_s
        # Where the weights take longer to read than the tokens to reckon, the time says nothing about the tokens.
        if seconds < TELLING * plain_s and believed_s < TELLING * plain_s:
            return
        if fresh_s > 0 and self._prefill.learn(float(steps), tokens + steps * sequences, pairs, fresh_s):
            self._renew()

    def _renew(self) -> None:
        self.tempo = Tempo(*self._decode.values, *self._prefill.values, self.tempo.chunk_tokens)
