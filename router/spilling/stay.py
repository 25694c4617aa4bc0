"""One request at one engine, from when it was sent to its end."""

from __future__ import annotations

import msgspec

from router.spilling.sample import Sample


class Stay(msgspec.Struct, eq=False, gc=False):
    """Written by its EngineLoad only. `fresh_tokens` of its prompt have to be read, the others are expected in the
    prefix cache; `pairs` as `speeds.pairs_of` counts them. `lengths`: how long its answer
    may be, as far as that is known. `first_s` is None before the first token, and a guess where it not `shows_first`.

    `start`: the engine's count of steps when it had no token yet, so that it has `steps - start` now. `debt_s`: what
    its promise allows for that count, less its first token's moment (see Reserves). The marks are what the
    engine's sums were when tokens of it were last counted."""

    prompt_tokens: int
    fresh_tokens: int
    pairs: float
    sent_s: float
    lengths: Sample | None = None
    predicted_ttft_s: float | None = None
    shows_first: bool = True
    first_s: float | None = None
    ended: bool = False
    start: float = 0.0
    debt_s: float = 0.0
    mark_tokens: float = 0.0
    mark_at_s: float = 0.0
    mark_s: float = 0.0
    mark_steps: float = 0.0
    mark_sequences: float = 0.0
    mark_kv: float = 0.0
    mark_read_steps: int = 0
