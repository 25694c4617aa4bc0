"""The KV blocks of one engine: who holds them, and what of them can be found again. Pure.

As vLLM's block pool does it: a block that nobody holds any more keeps what is in it and stands last in the queue of
free blocks; who needs room takes from the head of that queue. A sequence gives its blocks back tail first, so that
what is left of it is always its beginning. Blocks move here in pieces (the 512 tokens of one prefix id, or all that is
a sequence's own), which cost one object for many blocks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

BLOCK_TOKENS = 16
PREFIX_TOKENS = 512
PREFIX_BLOCKS = PREFIX_TOKENS // BLOCK_TOKENS


class Piece:
    """Neighbouring blocks of one prompt, from their first on: how many are there, and how many sequences hold them."""

    __slots__ = ("blocks", "holders", "key")

    def __init__(self, key: int | None, blocks: int = 0, holders: int = 0) -> None:
        self.key = key
        self.blocks = blocks
        self.holders = holders


class Blocks:
    """One writer: the engine. `free` counts blocks that nobody holds, whatever is still in them."""

    def __init__(self, count: int, *, caching: bool) -> None:
        self.count = count
        self.free = count
        self._caching = caching
        self._found: dict[int, Piece] = {}
        # From the longest free to the last freed.
        self._idle: OrderedDict[Piece, None] = OrderedDict({Piece(None, count): None})

    def take(self, count: int) -> None:
        """`count` blocks that were free; the caller has looked that there are as many."""
        self.free -= count
        if not self._caching:
            return
        while count:
            piece = next(iter(self._idle))
            if piece.blocks > count:
                piece.blocks -= count
                return
            count -= piece.blocks
            del self._idle[piece]
            self._forget(piece)

    def give(self, count: int) -> None:
        """`count` blocks back, of which nothing is to be found again; only where nothing is cached."""
        self.free += count

    def reach(self, prefix: Sequence[int]) -> list[Piece]:
        """The leading pieces of this prefix that are here: all whole, but perhaps the last."""
        found = []
        for key in prefix:
            piece = self._found.get(key)
            if piece is None or not piece.blocks:
                break
            found.append(piece)
            if piece.blocks < PREFIX_BLOCKS:
                break
        return found

    def open(self, key: int) -> Piece:
        """A piece to be filled, held by who opens it. A second copy of what another has begun is found by nobody."""
        if key in self._found:
            return Piece(None, holders=1)
        piece = self._found[key] = Piece(key, holders=1)
        return piece

    def hold(self, piece: Piece) -> None:
        """One holder more: what was free no longer is."""
        if not piece.holders and piece.blocks:
            del self._idle[piece]
            self.free -= piece.blocks
        piece.holders += 1

    def release(self, piece: Piece) -> None:
        """One holder less: after the last, the blocks are free and stand last in the queue."""
        piece.holders -= 1
        if piece.holders:
            return
        if piece.blocks:
            self._idle[piece] = None
            self.free += piece.blocks
        else:
            self._forget(piece)

    def _forget(self, piece: Piece) -> None:
        piece.blocks = 0
        if piece.key is not None and self._found.get(piece.key) is piece:
            del self._found[piece.key]
