"""What must be known of all targets to say of a request whether its length matters. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from engines.snapshot import Snapshot
from router.routing.fleet import Target


class Contexts(msgspec.Struct, frozen=True):
    """`shortest_tokens` is the least context of all targets: what surely fits there fits everywhere. `tokenizers` are
    the files of models' tokenizers, of those that are at hand."""

    targets: tuple[Target, ...] = ()
    shortest_tokens: float = math.inf
    tokenizers: Mapping[str, str] = {}


def contexts_of(targets: Sequence[Target], snapshot: Snapshot | None) -> Contexts:
    models = snapshot.models if snapshot else ()
    shortest_tokens = min([each.context_tokens for each in targets], default=math.inf)
    tokenizers = {each.name: each.tokenizer for each in models if each.tokenizer is not None}
    return Contexts(tuple(targets), shortest_tokens, tokenizers)
