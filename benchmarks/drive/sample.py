"""What one measured request met. Pure values; formulas over many samples are in `benchmarks.figures`.

All moments are seconds since the start of the run, on a monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """Latency counts from `scheduled_s`, when the request was due, not from `sent_s`, when the generator got to it.

    `first_s` and `last_s` are the moments of the first and the last event with content, None of a whole answer;
    `ended_s` is that of the end of the response. `gaps_s` are the times between successive reads that brought content,
    `gap_events` the numbers of events that the second read of each brought. Tokens are the engine's own count
    (`usage`), 0 where it gave none; `events` counts the events with content. `error` is None for a complete answer,
    else one word of `benchmarks.figures.errors`, and `message` says more.
    """

    number: int
    scheduled_s: float
    sent_s: float
    ended_s: float
    status: int
    first_s: float | None = None
    last_s: float | None = None
    gaps_s: tuple[float, ...] = ()
    gap_events: tuple[int, ...] = ()
    events: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    expected_prompt_tokens: int | None = None
    expected_output_tokens: int | None = None
    finish_reason: str | None = None
    kind: str = "chat"
    tier: str = ""
    task: str = ""
    tenant: str = ""
    target: str = ""
    reason: str = ""
    attempts: int = 0
    usd: float | None = None
    request_id: str = ""
    error: str | None = None
    message: str = ""

    @property
    def ok(self) -> bool:
        """The answer was complete."""
        return self.error is None

    @property
    def lag_s(self) -> float:
        """How late the generator sent it."""
        return self.sent_s - self.scheduled_s

    @property
    def e2e_s(self) -> float:
        """From the moment it was due to the last content, or to the end of a whole answer."""
        return (self.ended_s if self.last_s is None else self.last_s) - self.scheduled_s

    @property
    def ttft_s(self) -> float | None:
        """Time to first token; None for answers that do not stream."""
        return None if self.first_s is None else self.first_s - self.scheduled_s

    @property
    def tpot_s(self) -> float | None:
        """Time per output token after the first: (e2e - TTFT) / (tokens - 1). None below two tokens."""
        tokens = self.completion_tokens or self.events
        if self.first_s is None or self.last_s is None or tokens <= 1:
            return None
        return (self.last_s - self.first_s) / (tokens - 1)
