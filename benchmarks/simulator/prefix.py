"""What a sequence finds of itself in the blocks of an engine, and how it takes and gives them in pieces. Pure.

A prompt's leading ids (of 512 tokens each) are pieces that many may hold; the rest of it and its answer are one piece
of its own, which only the sequence itself finds again after it had to yield.
"""

from __future__ import annotations

from benchmarks.simulator.blocks import BLOCK_TOKENS, PREFIX_BLOCKS, PREFIX_TOKENS, Blocks, Piece
from benchmarks.simulator.sequence import Sequence


def settle(blocks: Blocks, sequence: Sequence) -> bool:
    """Holds what is here of the sequence and opens what is not; False, and nothing held, where the whole cannot fit.

    vLLM, KVCacheManager.get_computed_blocks: the last token is computed always, so that there is something to sample
    from; scheduler_reserve_full_isl: a prompt is let in only where all of it fits.
    """
    target = sequence.target
    whole = -(-target // BLOCK_TOKENS)
    ids = sequence.request.prefix[: sequence.request.prompt_tokens // PREFIX_TOKENS]
    found = blocks.reach(ids) if ids else []
    own = sequence.own
    if own is None or not own.blocks or len(found) < len(ids) or any(piece.blocks < PREFIX_BLOCKS for piece in found):
        # What was its own cannot be found without its prefix; it stays in the queue until others take it.
        own = None
    kept = found if own is None else [*found, own]
    there = sum(piece.blocks for piece in kept)
    idle = sum(piece.blocks for piece in kept if not piece.holders)
    if whole - there + idle > blocks.free:
        return False
    for piece in kept:
        blocks.hold(piece)
    sequence.own = own or Piece(None, holders=1)
    _open(blocks, sequence, ids, found)
    sequence.shared = sum(piece.blocks for piece in sequence.pieces)
    sequence.blocks = there
    sequence.computed = min(there * BLOCK_TOKENS, (target - 1) // BLOCK_TOKENS * BLOCK_TOKENS)
    return True


def _open(blocks: Blocks, sequence: Sequence, ids: tuple[int, ...], found: list[Piece]) -> None:
    sequence.pieces = found
    sequence.filling = []
    if len(found) == len(ids) and (not found or found[-1].blocks == PREFIX_BLOCKS):
        return
    missing = PREFIX_BLOCKS - found[-1].blocks if found else 0
    if missing:
        # Half of a piece is here: who holds it alone fills it up; where another is at it, the rest is a second copy.
        last = found[-1] if found[-1].holders == 1 else Piece(None, holders=1)
        if last is not found[-1]:
            found.append(last)
        sequence.filling.append((last, missing))
    done = len(found) - (1 if missing and found[-1].key is None else 0)
    for key in ids[done:]:
        piece = blocks.open(key)
        found.append(piece)
        sequence.filling.append((piece, PREFIX_BLOCKS))


def grow(blocks: Blocks, sequence: Sequence, count: int) -> None:
    """`count` blocks more, in the order of the prompt."""
    blocks.take(count)
    sequence.blocks += count
    filling = sequence.filling
    while filling and count:
        piece, missing = filling[0]
        share = min(missing, count)
        piece.blocks += share
        sequence.shared += share
        count -= share
        if share == missing:
            filling.pop(0)
        else:
            filling[0] = (piece, missing - share)


def release(blocks: Blocks, sequence: Sequence) -> None:
    """Gives back everything, the last first. A block that is not full is never found again."""
    own = sequence.own
    if own is not None:
        own.blocks = sequence.blocks - sequence.shared
        if sequence.computed % BLOCK_TOKENS and own.blocks and sequence.made < sequence.request.output_tokens:
            own.blocks -= 1
            blocks.release(Piece(None, 1, holders=1))
        blocks.release(own)
    for piece in reversed(sequence.pieces):
        blocks.release(piece)
    sequence.pieces = []
    sequence.filling = []
    sequence.blocks = sequence.shared = 0
