"""The work that came of late, in engine seconds: how much of it had to go, and how one request stands among it."""

from __future__ import annotations

import math

from router.spilling.ranks import Ranks
from router.spilling.want import Want
from router.spilling.worth import Worth

# Work is remembered so long (e-fold).
REMEMBERED_S = 90.0
# The mean price and the mean tokens held are averaged over so many requests.
AVERAGED = 200.0
# KV tokens that a request is believed to hold before any has come.
TOKENS_EACH = 1000.0
NOTHING_S = 1e-9


class Demand:
    """One writer. `usd_each` is what a request costs in the cloud, `tokens_each` what it holds here, on average."""

    def __init__(self) -> None:
        self.usd_each, self.tokens_each = 0.0, TOKENS_EACH
        self._priced = 0.0
        self._ranks = Ranks()
        self._offered_s, self._gone_s, self._at_s = NOTHING_S, 0.0, 0.0

    @property
    def gone_share(self) -> float:
        """Of the work that came."""
        return self._gone_s / self._offered_s

    def is_of_late(self, now_s: float) -> bool:
        """Whether there was any."""
        return now_s - self._at_s < REMEMBERED_S

    def below(self, worth: Worth) -> float:
        """The share of the work that saves no more for each second of an engine."""
        return self._ranks.below(worth.usd_per_s)

    def came(self, want: Want, now_s: float) -> None:
        """One more request."""
        fade = math.exp((self._at_s - now_s) / REMEMBERED_S)
        self._at_s = now_s
        self._gone_s *= fade
        self._offered_s = self._offered_s * fade + want.worth.engine_s
        if want.may_spill:
            self._priced = min(self._priced + 1.0, AVERAGED)
            self.usd_each += (want.worth.usd - self.usd_each) / self._priced
            self._ranks.learn(want.worth.usd_per_s, want.worth.engine_s)
        held = want.prompt_tokens + want.lengths.mean / 2
        self.tokens_each += (held - self.tokens_each) / AVERAGED

    def went(self, want: Want) -> None:
        """It could not be served here as promised."""
        self._gone_s += want.worth.engine_s
