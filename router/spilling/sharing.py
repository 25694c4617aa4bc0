"""How much less an engine holds than its requests add up to, because prompts that begin alike share blocks (vLLM:
automatic prefix caching). Learned from what it reports of itself.
"""

from __future__ import annotations

from engines.snapshot import Load

# Of the KV cache, so much must be in use for a comparison to say something.
TELLING_SHARE = 0.1
# An older report is of another moment.
FRESH_S = 1.0
# Weight of one report, of which there are two a second.
WEIGHT = 0.1
# No engine is believed to hold less of what its requests add up to, nor, strangers' included, more.
LEAST, MOST = 0.05, 1.2


class Sharing:
    """One writer: its Others."""

    __slots__ = ("_of_late",)

    def __init__(self) -> None:
        self._of_late = 1.0

    @property
    def share(self) -> float:
        """Of the tokens that requests add up to, what is really held, 1 at most.

        Reports are of a moment ago, so one shows less where more has come since, and the next one more. Only their mean
        says something: bounded each for itself they would show sharing where there is none.
        """
        return min(1.0, self._of_late)

    def hear(self, load: Load, own_tokens: float) -> None:
        """Of a report, and what all requests of this router there add up to."""
        if load.age_s > FRESH_S or own_tokens < TELLING_SHARE * load.kv_capacity_tokens:
            return
        held = load.kv_used_fraction * load.kv_capacity_tokens
        self._of_late += WEIGHT * (max(LEAST, min(MOST, held / own_tokens)) - self._of_late)
