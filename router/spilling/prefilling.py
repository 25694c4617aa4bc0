"""How much of its time an engine has spent on prompts of late."""

from __future__ import annotations

# How long that is averaged.
WINDOW_S = 10.0


class Prefilling:
    """One writer: its EngineLoad. `share` of the time, and in so many `steps_per_s`."""

    __slots__ = ("share", "steps_per_s")

    def __init__(self) -> None:
        self.share = self.steps_per_s = 0.0

    def passed(self, passed_s: float, reading_s: float) -> None:
        """So long, of which so much was spent on prompts."""
        newest = passed_s / (passed_s + WINDOW_S)
        self.share += newest * (reading_s / passed_s - self.share)
        self.steps_per_s -= newest * self.steps_per_s

    def read(self, steps: int) -> None:
        self.steps_per_s += steps / WINDOW_S
