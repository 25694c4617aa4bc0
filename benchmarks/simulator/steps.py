"""How long a step of an engine takes: by its tokens, its sequences and the KV they read. Pure.

A step is the sum of what its layers take: the dense layers by tokens in the step, the head and the sampler by
sequences, attention by the KV that is read. Attention is another kernel where a chunk of a prompt rides along: slower
for each sequence that decodes beside it, and dearer by the chunk's tokens and by the pairs of a token and what it looks
back on. Time is linear in the KV read, so that many steps of one batch sum in closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Knots = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Attention:
    """All layers' attention in one step: once, for each sequence that decodes, for each token of KV it reads."""

    step_ms: float
    sequence_us: float
    kv_ns: float


@dataclass(frozen=True, slots=True)
class Coefficients:
    """One engine's speed in a few numbers, and whence. Knots are (count, ms), in order of count.

    `alone` holds for steps in which all decode, `beside` for those with chunks of prompts, which add `chunk_us` for
    each of their tokens and `pair_ns` for each pair of a token and one before it.
    """

    source: str
    dense_ms: Knots
    head_ms: Knots
    alone: Attention
    beside: Attention
    chunk_us: float
    pair_ns: float


class Steps:
    """Seconds of steps. Read only; engines of one kind share it."""

    __slots__ = (
        "_beside_s",
        "_beside_sequence_s",
        "_chunk_s",
        "_dense_s",
        "_head_s",
        "_pair_s",
        "_sequence_s",
        "_step_s",
        "beside_kv_s",
        "kv_s",
        "source",
    )

    def __init__(self, coefficients: Coefficients) -> None:
        self.source = coefficients.source
        self._dense_s = [each / 1e3 for each in filled(coefficients.dense_ms)]
        self._head_s = [each / 1e3 for each in filled(coefficients.head_ms)]
        alone, beside = coefficients.alone, coefficients.beside
        self._step_s, self._sequence_s, self.kv_s = alone.step_ms / 1e3, alone.sequence_us / 1e6, alone.kv_ns / 1e9
        self._beside_s, self._beside_sequence_s = beside.step_ms / 1e3, beside.sequence_us / 1e6
        self.beside_kv_s = beside.kv_ns / 1e9
        self._chunk_s = coefficients.chunk_us / 1e6
        self._pair_s = coefficients.pair_ns / 1e9

    def decode_s(self, sequences: int, kv_tokens: int) -> float:
        """One step in which every sequence makes a token, reading `kv_tokens` in all."""
        return self._plain_s(sequences, sequences) + self._step_s + sequences * self._sequence_s + kv_tokens * self.kv_s

    def prefill_s(self, prompt_tokens: int) -> float:
        """A prompt computed alone and in one step, its first token with it."""
        return self.mixed_s(0, 0, ((prompt_tokens, 0),))

    def mixed_s(self, sequences: int, kv_tokens: int, chunks: Sequence[tuple[int, int]]) -> float:
        """One step with chunks of prompts, each (tokens, tokens computed before it), beside those who decode."""
        tokens, attention_s = sequences, 0.0
        for chunk, before in chunks:
            tokens += chunk
            attention_s += chunk * (self._chunk_s + (before + chunk / 2) * self._pair_s)
        return (
            self._plain_s(tokens, sequences + len(chunks))
            + self._beside_s
            + sequences * self._beside_sequence_s
            + kv_tokens * self.beside_kv_s
            + attention_s
        )

    def _plain_s(self, tokens: int, sequences: int) -> float:
        """A step without its attention: the layers that see tokens, and those that see sequences."""
        dense, head = self._dense_s, self._head_s
        most, more = len(dense) - 1, len(head) - 1
        # Beyond what was measured a layer is busy reckoning, and takes as much longer as it has more to do.
        return (dense[tokens] if tokens <= most else dense[most] * tokens / most) + (
            head[sequences] if sequences <= more else head[more] * sequences / more
        )


def filled(knots: Knots) -> Sequence[float]:
    """The value at each whole number from 0 to the last knot, linear between knots.

    Below the first knot nothing gets cheaper: a step of one token costs what reading the weights costs.
    """
    values = [knots[0][1]] * (knots[0][0] + 1)
    for (left, low), (right, high) in pairwise(knots):
        values += [low + (high - low) * (count - left) / (right - left) for count in range(left + 1, right + 1)]
    return values
