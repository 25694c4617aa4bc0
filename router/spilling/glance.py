"""An engine at a glance, as of the last event there: enough to pass over most of those without room."""

from __future__ import annotations

import math
from typing import NamedTuple

from router.spilling.others import Others
from router.spilling.prompts import Prompts
from router.spilling.sequences import Sequences
from router.spilling.standing import GROWTH_TOKENS, is_held_up


class Glance(NamedTuple):
    """All `requests` that are there; of the prompts that wait, `unread_tokens` are to be read; sequences that decode
    hold `kv_tokens`. `spare_tokens` are there for a newcomer at most, for sequences only grow until one ends: whoever
    needs more finds no room. Infinite where nobody knows, and where nobody is."""

    requests: int
    unread_tokens: float
    kv_tokens: float
    spare_tokens: float


NOBODY = Glance(0, 0.0, 0.0, math.inf)


def glance(
    prompts: Prompts, sequences: Sequences, others: Others, takes_sequences: int, kv_capacity_tokens: int | None
) -> Glance:
    """At an engine that takes so many sequences now."""
    requests = len(sequences.stays) + len(prompts.waiting) + others.running + others.waiting
    if not requests:
        return NOBODY
    unread_tokens = (prompts.tokens - prompts.ahead_tokens if prompts.waiting else 0.0) + others.unread_tokens
    kv_tokens = sequences.kv_tokens + others.kv_tokens
    if requests >= takes_sequences or is_held_up(others.waiting, kv_tokens, kv_capacity_tokens):
        spare_tokens = -1.0
    elif kv_capacity_tokens is None:
        spare_tokens = math.inf
    else:
        held_tokens = kv_tokens + prompts.held_tokens + others.unread_tokens
        spare_tokens = kv_capacity_tokens - held_tokens - GROWTH_TOKENS * (requests + 1)
    return Glance(requests, unread_tokens, kv_tokens, spare_tokens)
