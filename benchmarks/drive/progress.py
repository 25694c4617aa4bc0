"""What a run has done so far, to be read while it runs. Written by the drive only."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

RECENT = 100


@dataclass(slots=True)
class Progress:
    """Counts since the start. `done` are complete answers, `errors` the others by kind, `events` those with content.

    Tokens are the engine's count, known when an answer ends; `events` grows with every read. `recent_ttft_s` are those
    of the last answers, whole answers with their end to end time. `is_sending` is false once the last has been sent.
    """

    began_s: float = 0.0
    sent: int = 0
    in_flight: int = 0
    done: int = 0
    events: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    connections: int = 0
    is_sending: bool = True
    errors: Counter[str] = field(default_factory=Counter)
    recent_ttft_s: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    @property
    def failed(self) -> int:
        """Answers that were not complete."""
        return self.errors.total()
