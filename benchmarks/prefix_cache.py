"""The fake engine's prefix cache: what vLLM's automatic prefix caching finds again, without keys and values.

Whole blocks of tokens, each known by its own text and all that stands before it; the one that nobody read for longest
goes first. It must not know time, batches or HTTP.
"""

from __future__ import annotations

from collections import OrderedDict

from benchmarks.exposition import BLOCK_TOKENS
from benchmarks.wire import BYTES_PER_TOKEN

BLOCK_BYTES = BLOCK_TOKENS * BYTES_PER_TOKEN


class PrefixCache:
    """Room for so many tokens; 0 caches nothing and counts nothing. The counters are those of vLLM, in tokens."""

    def __init__(self, tokens: int) -> None:
        self._most = tokens // BLOCK_TOKENS
        self._blocks: OrderedDict[int, None] = OrderedDict()
        self.queried_tokens = 0
        self.hit_tokens = 0

    def read(self, text: str) -> int:
        """How many tokens at the beginning of this prompt were there; from now on all of its blocks are.

        Like vLLM it always leaves something to compute, because the first token of an answer needs it.
        """
        if not self._most:
            return 0
        raw = text.encode()
        names, name = [], 0
        for start in range(0, len(raw) - BLOCK_BYTES, BLOCK_BYTES):
            name = hash((name, raw[start : start + BLOCK_BYTES]))
            names.append(name)
        found = next((at for at, each in enumerate(names) if each not in self._blocks), len(names)) * BLOCK_TOKENS
        # The end of a prompt first, so that what many prompts share is the last to go.
        for each in reversed(names):
            self._blocks[each] = None
            self._blocks.move_to_end(each)
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)
        self.queried_tokens += -(-len(raw) // BYTES_PER_TOKEN)
        self.hit_tokens += found
        return found
