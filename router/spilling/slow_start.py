"""How many sequences an engine is given while it is new: a few, and more with each that is served and with time. So no
herd falls on one that has just come, or come back (Envoy: slow start mode).
"""

from __future__ import annotations

# At first, and for each first token that was seen.
START, EACH = 4, 2
# After so long, from the first on, it is given twice as many: long answers that come whole tell nothing for minutes.
DOUBLES_S = 0.25
# Doubled more often there is no end to it anyway.
MOST_DOUBLED = 20.0


class SlowStart:
    """One writer: its EngineLoad. Once `is_over` it is never asked again."""

    __slots__ = ("_sent_s", "is_over", "takes")

    def __init__(self) -> None:
        self.takes = START
        self.is_over = False
        self._sent_s: float | None = None

    def of(self, most_sequences: int) -> int:
        """How many it is given, of those that it takes."""
        return most_sequences if self.is_over else min(most_sequences, self.takes)

    def sent(self, now_s: float) -> None:
        """One was sent there."""
        if self._sent_s is None:
            self._sent_s = now_s

    def served(self, most_sequences: int) -> None:
        """One more first token was seen."""
        self._give(self.takes + EACH, most_sequences)

    def passed(self, now_s: float, most_sequences: int) -> bool:
        """Time has. Whether it is given more."""
        if self._sent_s is None:
            return False
        takes = int(START * 2.0 ** min((now_s - self._sent_s) / DOUBLES_S, MOST_DOUBLED))
        more = takes > self.takes
        if more:
            self._give(takes, most_sequences)
        return more

    def _give(self, takes: int, most_sequences: int) -> None:
        self.takes = takes
        self.is_over = takes >= most_sequences
