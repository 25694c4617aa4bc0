"""The work that came of late, in engine seconds: how much of it had to go, and how one request stands among it."""

from __future__ import annotations

import math

from router.spilling.ranks import Ranks
from router.spilling.want import Want
from router.spilling.worth import Worth

# Work is remembered so long (e-fold), and that of a burst, which has to be taken for what it is at once, so long.
REMEMBERED_S, BURST_S = 90.0, 30.0
# A burst is of more than so much work, so that one request is none.
BURST_WORK_S = 2.0
# The mean price and the mean tokens held are averaged over so many requests.
AVERAGED = 200.0
# KV tokens that a request is believed to hold before any has come.
TOKENS_EACH = 1000.0
NOTHING_S = 1e-9


class Share:
    """What had to go of the work that came, remembered for so long. One writer: its Demand."""

    __slots__ = ("_least_s", "_offered_s", "_remembered_s", "gone_s")

    def __init__(self, remembered_s: float, least_s: float) -> None:
        self._remembered_s, self._least_s = remembered_s, least_s
        self._offered_s = self.gone_s = 0.0

    @property
    def gone_share(self) -> float:
        return self.gone_s / (self._offered_s + self._least_s)

    def came(self, engine_s: float, passed_s: float) -> None:
        """So much work, so long after the last."""
        fade = math.exp(-passed_s / self._remembered_s)
        self.gone_s *= fade
        self._offered_s = self._offered_s * fade + engine_s


class Demand:
    """One writer. `usd_each` is what a request costs in the cloud, `tokens_each` what it holds here, on average."""

    def __init__(self) -> None:
        self.usd_each, self.tokens_each = 0.0, TOKENS_EACH
        self._priced = 0.0
        self._ranks = Ranks()
        self._at_s = 0.0
        self._long, self._burst = Share(REMEMBERED_S, NOTHING_S), Share(BURST_S, BURST_WORK_S)

    @property
    def gone_share(self) -> float:
        """Of the work that came, over a while or in the burst that is under way."""
        return max(self._long.gone_share, self._burst.gone_share)

    def is_of_late(self, now_s: float) -> bool:
        """Whether there was any."""
        return now_s - self._at_s < REMEMBERED_S

    def below(self, worth: Worth) -> float:
        """The share of the work that saves no more for each second of an engine."""
        return self._ranks.below(worth.usd_per_s)

    def came(self, want: Want, now_s: float) -> None:
        """One more request."""
        for share in (self._long, self._burst):
            share.came(want.worth.engine_s, now_s - self._at_s)
        self._at_s = now_s
        if want.may_spill:
            self._priced = min(self._priced + 1.0, AVERAGED)
            self.usd_each += (want.worth.usd - self.usd_each) / self._priced
            self._ranks.learn(want.worth.usd_per_s, want.worth.engine_s)
        held = want.prompt_tokens + want.lengths.mean / 2
        self.tokens_each += (held - self.tokens_each) / AVERAGED

    def went(self, want: Want) -> None:
        """It could not be served here as promised."""
        for share in (self._long, self._burst):
            share.gone_s += want.worth.engine_s
