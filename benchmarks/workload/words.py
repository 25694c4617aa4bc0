"""The words that prompts are made of: each one token wherever it stands, so that n of them are n tokens.

What stands around the text (a chat template, a begin-of-text) is the same for every prompt: `overhead`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from benchmarks.workload.arrival import Kind
from benchmarks.workload.tokenizer import Tokenizer
from benchmarks.workload.vocabulary import COMMON

# Enough that no two prompts begin alike by chance: 16 words of 2,048 are 2^176 beginnings.
MOST_WORDS = 2048
FEWEST_WORDS = 2
CANDIDATES = 6000
ADDED = 2
TRIED = (1, 2, 3, 5, 8, 13, 34, 89, 377)
EACH = 4


@dataclass(frozen=True, slots=True)
class Words:
    """`additive`: a prompt of n words is `overhead` + n tokens without counting it."""

    words: tuple[str, ...]
    overhead: int
    additive: bool


# Without a tokenizer: one word stands for one token, which is not exact, and nobody counts.
UNCOUNTED = Words(COMMON, 0, additive=False)


@lru_cache(8)
def learned(tokenizer: Tokenizer, kind: Kind) -> Words:
    """Those candidates that are one token each, and what the server adds around them.

    Kept for later runs with the same tokenizer. Raises ValueError where there are too few, which no tokenizer of a
    language model has shown.
    """
    candidates = list(tokenizer.candidates())[:CANDIDATES]
    threes = tokenizer.counts([f"{word} {word} {word}" for word in candidates], kind)
    fives = tokenizer.counts([" ".join([word] * 5) for word in candidates], kind)
    # Two more of a word must be two more tokens. What remains of three is the overhead, and what begins a text may
    # cost another token: the words of the most frequent overhead are alike in that.
    overheads = {
        word: three - 3 for word, three, five in zip(candidates, threes, fives, strict=True) if five - three == ADDED
    }
    usual = Counter(overheads.values()).most_common(1)
    if not usual or usual[0][1] < FEWEST_WORDS:
        raise ValueError(f"tokenizer {tokenizer.name}: it has hardly a word of one token; use --prompts FILE instead")
    overhead = usual[0][0]
    words = [word for word in candidates if overheads.get(word) == overhead][:MOST_WORDS]
    additive = tokenizer.splits(words) and _sums_up(tokenizer, kind, words, overhead)
    return Words(tuple(words), overhead, additive)


def _sums_up(tokenizer: Tokenizer, kind: Kind, words: Sequence[str], overhead: int) -> bool:
    rng = Random(0)
    lengths = [length for length in TRIED for _ in range(EACH)]
    texts = [" ".join(rng.choices(words, k=length)) for length in lengths]
    return tokenizer.counts(texts, kind) == [overhead + length for length in lengths]
