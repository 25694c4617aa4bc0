"""How long a step of an engine takes: by its tokens, its sequences and the KV they read. Pure.

A step is the sum of what its layers take: the dense layers by tokens in the step, the head and the sampler by
sequences, attention of decoding by KV tokens read, attention of a prefill chunk by its tokens and by the pairs of a
token and what it looks back on. Time is linear in the KV read, so that many steps of one batch sum in closed form.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

Knots = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Coefficients:
    """One engine's speed in a few numbers, and whence. Knots are (count, ms), linear between them and beyond."""

    source: str
    dense_ms: Knots
    head_ms: Knots
    kv_ns: float
    chunk_us: float
    pair_ns: float
    overhead_ms: float = 0.0


class Steps:
    """Seconds of steps. Read only after it is made; engines of one kind share it."""

    __slots__ = ("_dense_s", "_dense_slope", "_head_s", "_head_slope", "chunk_s", "kv_s", "pair_s", "source")

    def __init__(self, coefficients: Coefficients, most_tokens: int = 4096, most_sequences: int = 1024) -> None:
        overhead_s = coefficients.overhead_ms / 1e3
        self.source = coefficients.source
        self._dense_s = [each / 1e3 + overhead_s for each in filled(coefficients.dense_ms, most_tokens)]
        self._head_s = [each / 1e3 for each in filled(coefficients.head_ms, most_sequences)]
        self._dense_slope = self._dense_s[-1] - self._dense_s[-2]
        self._head_slope = self._head_s[-1] - self._head_s[-2]
        self.kv_s = coefficients.kv_ns / 1e9
        self.chunk_s = coefficients.chunk_us / 1e6
        self.pair_s = coefficients.pair_ns / 1e9

    def plain_s(self, tokens: int, sequences: int) -> float:
        """A step without its attention: the layers that see tokens, and those that see sequences."""
        dense_s, head_s = self._dense_s, self._head_s
        dense = (
            dense_s[tokens] if tokens < len(dense_s) else dense_s[-1] + (tokens - len(dense_s) + 1) * self._dense_slope
        )
        head = (
            head_s[sequences]
            if sequences < len(head_s)
            else head_s[-1] + (sequences - len(head_s) + 1) * self._head_slope
        )
        return dense + head

    def attention_s(self, chunk_tokens: int, before_tokens: int) -> float:
        """Attention of a prefill chunk whose sequence has `before_tokens` computed already."""
        return chunk_tokens * (self.chunk_s + (before_tokens + chunk_tokens / 2) * self.pair_s)

    def decode_s(self, sequences: int, kv_tokens: int) -> float:
        """One step in which every sequence makes a token, reading `kv_tokens` in all."""
        return self.plain_s(sequences, sequences) + kv_tokens * self.kv_s

    def prefill_s(self, prompt_tokens: int) -> float:
        """A prompt computed alone, in one step."""
        return self.plain_s(prompt_tokens, 1) + self.attention_s(prompt_tokens, 0)


def filled(knots: Knots, most: int) -> Sequence[float]:
    """The value at each whole number from 0 to `most`: linear between knots, and beyond them as their last two go."""
    at = [count for count, _ in knots]
    values = []
    for count in range(most + 1):
        place = min(max(bisect_right(at, count), 1), len(at) - 1)
        (left, low), (right, high) = knots[place - 1], knots[place]
        # Below the first knot nothing gets cheaper: a step of one token costs what reading the weights costs.
        share = max(0.0, (count - left) / (right - left))
        values.append(low + (high - low) * share)
    return values
