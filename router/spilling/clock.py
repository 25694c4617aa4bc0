"""How many steps an engine has made, as reckoned and as seen, and what passed in them: what `Speeds` learns from."""

from __future__ import annotations

from router.spilling.speeds import Decoded, Tempo
from router.spilling.stay import Stay

# By how much one count of tokens may move the count of steps, against what was believed to have passed since the last:
# a sequence that was preempted made none, and says nothing about the others.
MOST_ASTRAY, ALWAYS_ASTRAY_STEPS = 0.5, 4.0
# How certain a count is that shows far fewer tokens than believed.
PREEMPTED = 0.3


class Clock:
    """One writer: its EngineLoad. `steps` counts all steps. The sums behind it are of those that only decoded: their
    seconds, and for each of them the sequences and KV tokens in it."""

    __slots__ = ("_kv", "_moved_at", "_plain_s", "_plain_steps", "_read_steps", "_sequences", "steps")

    def __init__(self) -> None:
        self.steps = 0.0
        self._moved_at = 0.0
        self._plain_s = 0.0
        self._plain_steps = 0.0
        self._sequences = 0.0
        self._kv = 0.0
        self._read_steps = 0

    def decode(self, seconds: float, tempo: Tempo, sequences: int, kv_tokens: float, gain_tokens: int) -> None:
        """Nothing but steps that decode, of which each adds `gain_tokens` to the KV tokens that are known."""
        first_s = tempo.decode_s(sequences, kv_tokens)
        # Each step is longer than the last by what that has added: the one in the middle stands for all.
        half = gain_tokens * seconds / first_s / 2
        steps = seconds / (first_s + tempo.kv_token_s * half)
        self.steps += steps
        self._plain_s += seconds
        self._plain_steps += steps
        self._sequences += steps * sequences
        self._kv += steps * (kv_tokens + half)

    def read(self, steps: int) -> None:
        """So many steps read prompts, up to now."""
        self.steps += steps
        self._read_steps += steps

    def correct(self, astray: float) -> float:
        """A sequence has made so many tokens more than were reckoned, and the others with it. How certain that is: it
        may have been preempted where it has made far less."""
        most = ALWAYS_ASTRAY_STEPS + MOST_ASTRAY * max(0.0, self.steps - self._moved_at)
        self.steps += min(max(astray, -most), most)
        self._moved_at = self.steps
        return 1.0 if astray >= -most else PREEMPTED

    def mark(self, stay: Stay, tokens: float, now_s: float) -> None:
        """It has so many tokens now."""
        stay.mark_at_s = now_s
        stay.mark_tokens = tokens
        stay.mark_s = self._plain_s
        stay.mark_steps = self._plain_steps
        stay.mark_sequences = self._sequences
        stay.mark_kv = self._kv
        stay.mark_read_steps = self._read_steps

    def passed(self, stay: Stay, tokens: float, now_s: float, certainty: float) -> Decoded | None:
        """Of the steps that made its tokens since the mark, those that only decoded. Who was there in each of them is
        taken as reckoned; how many they were, as counted. None where there were too few."""
        reckoned = self._plain_steps - stay.mark_steps
        steps = tokens - stay.mark_tokens - (self._read_steps - stay.mark_read_steps)
        if reckoned <= 0 or steps < 1:
            return None
        sequences = (self._sequences - stay.mark_sequences) / reckoned
        kv_tokens = (self._kv - stay.mark_kv) / reckoned
        plain_s = self._plain_s - stay.mark_s
        # Where most of the time went to prompts, what is left for the others is the less certain.
        certainty *= plain_s / max(now_s - stay.mark_at_s, plain_s)
        return Decoded(plain_s, steps, sequences, kv_tokens, certainty)
