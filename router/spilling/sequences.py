"""The sequences of one engine that decode: they move in step, so one count of steps says how far all of them are, and
what they hold is known without a count of each.
"""

from __future__ import annotations

from router.spilling.clock import Clock
from router.spilling.reserves import Reserves
from router.spilling.speeds import Speeds
from router.spilling.stay import Stay

# So few steps between two counts say more about when they were counted than about a step.
FEW_STEPS, FEW_STEPS_AT_END = 24, 4


class Sequences:
    """One writer: its EngineLoad. `stays` in the order in which they began."""

    __slots__ = ("_held", "_reserves", "_starts", "clock", "stays")

    def __init__(self, tpot_s: float) -> None:
        self.clock = Clock()
        self.stays: dict[Stay, None] = {}
        self._reserves = Reserves(tpot_s)
        # Their prompts, and what the count of steps was when each began: with the count of steps that is all that is
        # needed for the KV tokens of all of them.
        self._held = 0
        self._starts = 0.0

    @property
    def kv_tokens(self) -> float:
        """What they hold."""
        stays = self.stays
        return self._held + len(stays) * self.clock.steps - self._starts if stays else 0.0

    def so_far(self, stay: Stay) -> float:
        """Tokens that one of them has."""
        return max(1.0, self.clock.steps - stay.start)

    def promise(self, tpot_s: float) -> None:
        """So long between two tokens."""
        self._reserves.promise(tpot_s)

    def begin(self, stay: Stay, now_s: float) -> None:
        """Its first token has come with the last step."""
        stay.first_s = now_s
        stay.start = self.clock.steps - 1.0
        self.stays[stay] = None
        self._held += stay.prompt_tokens
        self._starts += stay.start
        self.clock.mark(stay, 1.0, now_s)
        self._reserves.add(stay, self.clock.steps)

    def counted(self, stay: Stay, tokens: float, now_s: float, speeds: Speeds) -> None:
        """So many tokens of one were seen until now."""
        certainty = self._correct(stay, tokens)
        if tokens - stay.mark_tokens >= FEW_STEPS:
            self._learn(stay, tokens, now_s, certainty, speeds)
            self.clock.mark(stay, tokens, now_s)

    def end(self, stay: Stay, tokens: int | None, now_s: float, speeds: Speeds) -> None:
        """It is over, with so many tokens, where that is known and is to be learned from."""
        if tokens is not None:
            certainty = self._correct(stay, float(tokens))
            if tokens - stay.mark_tokens >= FEW_STEPS_AT_END:
                self._learn(stay, float(tokens), now_s, certainty, speeds)
        del self.stays[stay]
        self._held -= stay.prompt_tokens
        # Whole again whenever nobody is left, so that rounding never adds up.
        self._starts = self._starts - stay.start if self.stays else 0.0
        self._reserves.forget(len(self.stays))

    def beyond(self, at_s: float, stall_s: float, steps: int) -> list[tuple[Stay, float]]:
        """Who would be beyond its promised time per token after such a stall from that moment on, in which it makes so
        many tokens, and by how many seconds."""
        return self._reserves.beyond(at_s + stall_s, self.clock.steps + steps)

    def _learn(self, stay: Stay, tokens: float, now_s: float, certainty: float, speeds: Speeds) -> None:
        seen = self.clock.passed(stay, tokens, now_s, certainty)
        if seen is not None:
            speeds.learn_step(seen)

    def _correct(self, stay: Stay, tokens: float) -> float:
        certainty = self.clock.correct(tokens - (self.clock.steps - stay.start))
        start = self.clock.steps - tokens
        self._starts += start - stay.start
        stay.start = start
        return certainty
