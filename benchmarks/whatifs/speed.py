"""What the engines of a model do: as a named engine that is like them, else as the ledger's rows tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.simulator.blocks import BLOCK_TOKENS
from benchmarks.simulator.named import kind_of
from benchmarks.simulator.setting import EngineKind
from benchmarks.simulator.steps import Steps
from benchmarks.whatifs.learned import learned
from benchmarks.whatifs.looked import Looked
from benchmarks.whatifs.place import Place
from benchmarks.whatifs.wish import Wish


def kind_for(looked: Looked, places: Sequence[Place], wish: Wish) -> tuple[EngineKind, str]:
    """And where its speed is from, in words. Raises ValueError where the ledger does not tell it."""
    if wish.engine is not None:
        kind = kind_of(wish.engine)
        return kind, f"engine: {wish.engine}, as asked for ({kind.steps.source})"
    named = places[0].named() if places else None
    if named is not None:
        kind, note = kind_of(named), f"engine: as {named}"
        note = f"{note} ({kind.steps.source})"
    else:
        kind, note = _learned(looked)
    if not places:
        return kind, f"{note}; room for KV is unknown, taken as the most seen at once ({kind.kv_tokens:,} tokens)"
    return _bounded(kind, places[0]), note


def slow_notes(kind: EngineKind, tpot_s: float) -> list[str]:
    """A promise that no engine can keep makes all cases alike."""
    alone_s = kind.steps.decode_s(1, 1024)
    if alone_s <= tpot_s:
        return []
    return [
        f"one answer alone takes {alone_s * 1e3:.0f} ms a token here, and {tpot_s * 1e3:g} ms are promised: engines "
        "cannot keep that; give a longer --tpot-s"
    ]


def _learned(looked: Looked) -> tuple[EngineKind, str]:
    coefficients, off_share = learned(looked.rows)
    # vLLM keeps a block for itself, and nothing that was served can have been too long.
    least = looked.longest_tokens() + 2 * BLOCK_TOKENS
    kind = EngineKind(Steps(coefficients), max(looked.most_held_tokens(), least))
    return kind, f"engine: {coefficients.source}; half of them are within {off_share * 100:.1g} % of it"


def _bounded(kind: EngineKind, place: Place) -> EngineKind:
    """With the room and the scheduler that the plan gives it. vLLM wants a step to hold all its sequences."""
    most = max(place.max_batched_tokens, place.max_sequences)
    return replace(kind, kv_tokens=place.kv_tokens, max_sequences=place.max_sequences, max_batched_tokens=most)
