"""Requests as the ledger tells them: a row each, or counted in blocks of those that are alike. Values."""

from __future__ import annotations

from typing import NamedTuple

LOCAL, CLOUD = "local/", "cloud/"


class Row(NamedTuple):
    """One that was answered. `arrived_s` is of the wall clock; `ttft_s` None where the answer did not stream."""

    arrived_s: float
    target: str
    model: str
    tier: str
    reason: str
    tenant: str | None
    prompt_tokens: int
    completion_tokens: int
    ttft_s: float | None
    e2e_s: float
    usd: float = 0.0

    @property
    def is_local(self) -> bool:
        """Whether an engine of ours answered."""
        return self.target.startswith(LOCAL)

    @property
    def first_s(self) -> float:
        """When its first token came, by the same clock; its arrival where nobody saw that."""
        return self.arrived_s + (self.ttft_s or 0.0)

    @property
    def end_s(self) -> float:
        """When its last token came, by the same clock as its arrival."""
        return self.arrived_s + self.e2e_s

    @property
    def tpot_s(self) -> float | None:
        """Mean time of the tokens after the first; None where nobody saw the first."""
        if self.ttft_s is None:
            return None
        return (self.e2e_s - self.ttft_s) / (self.completion_tokens - 1) if self.completion_tokens > 1 else 0.0


class Block(NamedTuple):
    """So many that came in the same slot, by the same tier to the same target for the same reason, and their sums."""

    slot: int
    target: str
    model: str
    tier: str
    reason: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float

    @property
    def is_local(self) -> bool:
        """Whether engines of ours answered."""
        return self.target.startswith(LOCAL)
