"""Where an engine is in its life, and what it does there in words. One writer: the engine's own task."""

from __future__ import annotations

import time

from engines.life.lifecycle import Event, Life, is_step, launched, lived
from engines.snapshot import EngineState


class Course:
    """The life so far, carried from one frozen value to the next."""

    def __init__(self) -> None:
        self.life = Life(since_s=time.monotonic())
        self.progress = ""

    @property
    def state(self) -> EngineState:
        return self.life.state

    @property
    def in_state_s(self) -> float:
        return time.monotonic() - self.life.since_s

    def can(self, event: Event) -> bool:
        return is_step(self.life.state, event)

    def step(self, event: Event) -> None:
        """Raises IllegalStepError for a pair that is not in the table."""
        self.life = lived(self.life, event, time.monotonic())

    def launched(self) -> None:
        """A process of it runs."""
        self.life = launched(self.life)

    def say(self, words: str, event: Event | None = None) -> None:
        """What happens now. Phases may be told twice, or out of turn: then the event is no step."""
        self.progress = words
        if event and self.can(event):
            self.step(event)
