"""Prompts of an exact length in tokens, different from each other but for the prefixes that they are to share.

Pure, but for a tokenizer that has to be asked when words do not simply add up. Deterministic by seed and order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from random import Random

import numpy as np
from numpy.typing import NDArray

from benchmarks.workload.arrival import Kind, Prompt
from benchmarks.workload.shape import Segment, Shape
from benchmarks.workload.tokenizer import Tokenizer
from benchmarks.workload.words import UNCOUNTED, learned

FORM = "TOKENS:POOL, such as 512:8 for 8 prefixes of 512 tokens"
ROUNDS = 8
KEPT_SEGMENTS = 2048


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """Every prompt begins with one of `pool` prefixes of `tokens` tokens, by chance. They count as its length."""

    tokens: int
    pool: int

    def drawn(self, rng: Random) -> Segment:
        """One of the pool."""
        return Segment(f"prefix {rng.randrange(self.pool)}", self.tokens)

    def __str__(self) -> str:
        return f"{self.tokens}:{self.pool}"


def shared_prefix_in(text: str) -> SharedPrefix:
    """From `TOKENS:POOL`, or `TOKENS` alone for a single prefix. Raises ValueError with a sentence."""
    tokens, found, pool = text.removeprefix("prefix=").partition(":")
    pool = pool if found else "1"
    if not (tokens.isdecimal() and pool.isdecimal() and int(tokens) and int(pool)):
        raise ValueError(f"--shared-prefix {text!r}: write {FORM}")
    return SharedPrefix(int(tokens), int(pool))


class Synthetic:
    """Makes prompts. `exact` tells whether lengths are a tokenizer's count, or only words."""

    def __init__(self, tokenizer: Tokenizer | None, kind: Kind, *, seed: int, as_ids: bool = False) -> None:
        """`as_ids` gives token ids instead of text, which completions and embeddings take. Raises ValueError."""
        if as_ids and (tokenizer is None or kind is Kind.CHAT):
            raise ValueError("--token-ids needs --tokenizer, and --kind completion or embedding: chat takes only text")
        self._tokenizer = tokenizer
        self._kind = kind
        self._as_ids = as_ids
        self._words = learned(tokenizer, kind) if tokenizer else UNCOUNTED
        self._ids = tokenizer.ids(self._words.words) if tokenizer and as_ids else []
        self._seed = seed
        self._fresh = np.random.Generator(np.random.PCG64(seed))
        self._segment = lru_cache(KEPT_SEGMENTS)(self._drawn_segment)
        self.exact = tokenizer is not None

    @property
    def overhead(self) -> int:
        """Tokens around the text: those of the chat template or of the begin-of-text."""
        return 0 if self._as_ids else self._words.overhead

    def prompt(self, tokens: int, segments: Iterable[Segment] = ()) -> Prompt:
        """Of so many tokens, template included, beginning with these segments. At least one word is in it."""
        drawn = self._drawn(max(tokens - self.overhead, 1), segments)
        if self._as_ids:
            return Prompt(tuple(self._ids[number] for number in drawn), len(drawn))
        words = [self._words.words[number] for number in drawn]
        if self._tokenizer is None:
            return Prompt(" ".join(words))
        if self._words.additive:
            return Prompt(" ".join(words), self._words.overhead + len(words))
        return self._counted(self._tokenizer, words, tokens)

    def counted(self, texts: Sequence[str]) -> list[Prompt]:
        """Texts as they are, with their counts where there is a tokenizer."""
        if self._tokenizer is None:
            return [Prompt(text) for text in texts]
        return [Prompt(*pair) for pair in zip(texts, self._tokenizer.counts(texts, self._kind), strict=True)]

    def _drawn(self, count: int, segments: Iterable[Segment]) -> list[int]:
        """Numbers of words: the segments, as far as there is room, then fresh ones."""
        parts: list[NDArray[np.int64]] = []
        left = count
        for segment in segments:
            if left <= 0:
                break
            parts.append(self._segment(segment)[:left])
            left -= segment.tokens
        if left > 0:
            parts.append(self._fresh.integers(0, len(self._words.words), left))
        numbers: list[int] = (np.concatenate(parts) if len(parts) > 1 else parts[0]).tolist()
        return numbers

    def _drawn_segment(self, segment: Segment) -> NDArray[np.int64]:
        key = int.from_bytes(blake2b(segment.key.encode(), digest_size=8).digest())
        rng = np.random.Generator(np.random.PCG64((self._seed, key)))
        return rng.integers(0, len(self._words.words), segment.tokens)

    def _counted(self, tokenizer: Tokenizer, words: list[str], tokens: int) -> Prompt:
        """Where tokens may span words: counted and mended until it is right; what is left is told by `tokens`."""
        (found,) = tokenizer.counts([" ".join(words)], self._kind)
        for _ in range(ROUNDS):
            if found == tokens or (found > tokens and len(words) == 1):
                break
            if found > tokens:
                del words[max(len(words) - (found - tokens), 1) :]
            else:
                more = self._fresh.integers(0, len(self._words.words), tokens - found)
                words += [self._words.words[number] for number in more.tolist()]
            (found,) = tokenizer.counts([" ".join(words)], self._kind)
        return Prompt(" ".join(words), found)


def filled(shapes: Iterable[Shape], synthetic: Synthetic) -> Iterator[tuple[Shape, Prompt]]:
    """Each shape with a prompt of its length; a text that the shape brings is kept and only counted."""
    for shape in shapes:
        (prompt,) = (
            synthetic.counted([shape.text]) if shape.text else [synthetic.prompt(shape.input_tokens, shape.segments)]
        )
        yield shape, prompt
