"""How many sequences an engine is given while it is new: a few, and more with each that is served, so that no herd
falls on one that has just come, or come back (Envoy: slow start mode; here by answers seen, not by time).
"""

from __future__ import annotations

# At first, and for each first token that was seen.
START, EACH = 4, 2


class SlowStart:
    """One writer: its EngineLoad. Once `is_over` it is never asked again."""

    __slots__ = ("is_over", "takes")

    def __init__(self) -> None:
        self.takes = START
        self.is_over = False

    def of(self, most_sequences: int) -> int:
        """How many it is given, of those that it takes."""
        return most_sequences if self.is_over else min(most_sequences, self.takes)

    def served(self, most_sequences: int) -> None:
        """One more first token was seen."""
        self.takes += EACH
        self.is_over = self.takes >= most_sequences
