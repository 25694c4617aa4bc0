"""How fast one engine works: seconds for a step that decodes, and for a step that reads prompts. Learned.

Pure: what was measured goes in, a frozen Tempo comes out. A step of continuous batching gives each sequence one token;
one that also reads a piece of a prompt takes as long as the arithmetic of all its tokens, or as reading the weights
once, whichever is longer (roofline model: Williams, Waterman and Patterson, 2009), and somewhat more where both are
alike: the root of the sum of their squares is within 10 % of measured steps of an RTX 4090 and an RTX PRO 6000, and
within 2.5 ms of those of an H200. Reading the KV cache comes on top.
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
# Of ordinary prompts read at a stretch: a step that was under way, tokens, and pairs of a token and one before it.
USUAL_LAG_S, USUAL_TOKENS, USUAL_PAIRS = 0.03, 1_500.0, 2e6
# So many steps seen at a stretch are a whole observation: one of few is blurred by when it began and ended.
WHOLE_STEPS = 32
# A step whose prompt is short took as long as the weights, and says little about prompts; but never less than this.
LEAST_TELLING = 0.05
# First tokens that tell how fast an engine reads of which nothing was known.
TOLD = 8
# What is left of a step under way, on average.
UNDER_WAY = 0.5
# How much the step under way blurs a first token's time, in shares of that step for each tenth of the time.
BLUR = 3.0
# Of a decode step that is assumed, before any was seen: what goes to each sequence and to each KV token.
SEQUENCE_SHARE, KV_TOKEN_SHARE = 0.005, 1e-5
# Likewise of a prompt: steps before it is looked at, and how many tokens before it cost as much again.
LAG_STEPS, PAIRS_PER_TOKEN = 1.0, 25_000


class Tempo(msgspec.Struct, frozen=True):
    """Seconds of one engine. A step that decodes takes `step_s`, for each sequence `sequence_s` and for each KV token
    that they hold `kv_token_s` more. One that reads prompt takes `token_s` for each token, `pair_s` for each pair of a
    prompt's token and one before it (see `_mixed_s`), and the same for the KV tokens.

    A prompt that comes while others decode is looked at `lag_steps` later: half a step is under way on average, and
    vLLM plans one ahead (async scheduling). `chunk_tokens` is what one step takes at most (max_num_batched_tokens)."""

    step_s: float
    sequence_s: float
    kv_token_s: float
    lag_steps: float
    token_s: float
    pair_s: float
    chunk_tokens: int = 2048

    @classmethod
    def given(cls, prefill_tokens_per_s: float, stream_tokens_per_s: float, chunk_tokens: int = 2048) -> Self:
        """What can be assumed of an engine of which only two rates are known: those of one request that is alone."""
        step_s, token_s = 1.0 / stream_tokens_per_s, 1.0 / prefill_tokens_per_s
        return cls(
            step_s,
            step_s * SEQUENCE_SHARE,
            step_s * KV_TOKEN_SHARE,
            LAG_STEPS,
            token_s,
            token_s / PAIRS_PER_TOKEN,
            chunk_tokens,
        )

    def decode_s(self, sequences: float, kv_tokens: float) -> float:
        """One step without any prompt in it."""
        step_s = self.step_s + self.sequence_s * sequences + self.kv_token_s * kv_tokens
        return max(step_s, SHORTEST_STEP_S)

    @property
    def planned_steps(self) -> float:
        """Of those that a prompt waits for, the ones after the one under way."""
        return max(0.0, self.lag_steps - UNDER_WAY)

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
        plain_s = self.step_s + self.sequence_s * sequences
        return math.hypot(plain_s, self.token_s * (tokens + sequences)) + self.kv_token_s * kv_tokens


def pairs_of(tokens: float, cached_tokens: float = 0.0) -> float:
    """Of a prompt of which the first `cached_tokens` are known already: what attention has to compare."""
    fresh = tokens - cached_tokens
    return fresh * (cached_tokens + fresh / 2)


# What is assumed of an engine of which nothing is known: rather slow, so that a promise is not given too easily.
UNKNOWN = Tempo.given(4_000.0, 30.0)


class Read(msgspec.Struct, frozen=True):
    """Prompts that were read at a stretch: seconds to the first tokens of their last step, tokens and pairs (the
    pieces of those who still wait are among them), and who decoded beside them. `waits`: counted from when they were
    sent, with a step under way."""

    seconds: float
    tokens: float
    pairs: float
    sequences: int
    kv_tokens: float
    waits: bool


class Decoded(msgspec.Struct, frozen=True):
    """Steps that only decoded: their seconds, how many, who was in them on average. `certainty`: 1 where all of that
    was seen."""

    seconds: float
    steps: float
    sequences: float
    kv_tokens: float
    certainty: float = 1.0


class Speeds:
    """What is learned of one engine. One writer. `tempo` is what is believed now; it begins with what was given."""

    __slots__ = ("_decode", "_is_guess", "_prefill", "tempo")

    def __init__(self, given: Tempo = UNKNOWN) -> None:
        self.tempo, self._is_guess = given, given is UNKNOWN
        step = (given.step_s, given.sequence_s, given.kv_token_s)
        read = (given.lag_steps, given.token_s, given.pair_s)
        self._decode = Fit(step, (1.0, USUAL_SEQUENCES, USUAL_KV_TOKENS))
        self._prefill = Fit(read, (USUAL_LAG_S, USUAL_TOKENS, USUAL_PAIRS))

    @property
    def observations(self) -> tuple[int, int]:
        """Of steps, and of first tokens."""
        return self._decode.seen, self._prefill.seen

    @property
    def is_guess(self) -> bool:
        """Whether nobody knows yet how fast it reads."""
        return self._is_guess and self._prefill.seen < TOLD

    def learn_step(self, seen: Decoded) -> None:
        if seen.steps < 1 or seen.seconds <= 0 or seen.sequences < 1:
            return
        weight = (seen.certainty * min(1.0, seen.steps / WHOLE_STEPS)) ** 2
        if self._decode.learn(1.0, seen.sequences, seen.kv_tokens, seen.seconds / seen.steps, weight):
            self._renew()

    def learn_first_token(self, read: Read) -> None:
        tempo = self.tempo
        if read.tokens < 1 or read.seconds <= 0:
            return
        steps, lag_s = tempo.steps(read.tokens, read.sequences), 0.0
        if read.waits:
            lag_s = tempo.decode_s(read.sequences, read.kv_tokens)
        all_tokens = read.tokens + steps * read.sequences
        # What the weights add to the arithmetic, as believed, is taken off, and so is the KV cache.
        reading_s = tempo.token_s * all_tokens / steps
        step_s = max(math.hypot(tempo.step_s + tempo.sequence_s * read.sequences, reading_s), SHORTEST_STEP_S)
        rest_s = steps * (step_s - reading_s + tempo.kv_token_s * read.kv_tokens)
        telling = max(LEAST_TELLING, (reading_s / step_s) ** 2)
        # When within the step under way it came is chance, and blurs a short time more than a long one.
        weight = telling / (1.0 + (BLUR * lag_s / read.seconds) ** 2)
        seconds = max(read.seconds - rest_s, SHORTEST_STEP_S)
        if self._prefill.learn(lag_s, all_tokens, read.pairs, seconds, weight):
            self._renew()

    def _renew(self) -> None:
        self.tempo = Tempo(*self._decode.values, *self._prefill.values, self.tempo.chunk_tokens)
