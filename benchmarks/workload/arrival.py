"""One request of a workload: what is asked, when, and on whose behalf. Pure values; it must not know HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Which endpoint is asked."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked: text, or token ids where the endpoint takes them (completions, embeddings).

    `tokens` is the server's own count, chat template included, where it is known beforehand, else None.
    """

    content: str | tuple[int, ...]
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """`at_s` counts from the start of the run; users in a closed loop take their next request whenever they are ready.

    `output_tokens` is the exact length of the answer (`max_tokens` with `ignore_eos`), None where the model decides.
    """

    prompt: Prompt
    at_s: float = 0.0
    output_tokens: int | None = None
    kind: Kind = Kind.CHAT
    stream: bool = True
    tier: str = ""
    task: str = ""
    tenant: str = ""
    local_only: bool = False
