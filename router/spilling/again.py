"""When a cloud that is still silent is asked a second time: where that is worth its price. Pure.

Of a cloud's first tokens a few come very late, whatever it is asked; a second call made while the first is still
silent seldom meets the same fate (Dean and Barroso, 2013, "The tail at scale": hedged requests). Whoever answers first
is heard, and the other is left: its prompt is paid for. So it is weighed: what it costs, as often as it is made,
against what a miss may cost now.
"""

from __future__ import annotations

import math

from router.spilling.twin import CALL_S, Twin

# Of the time that the promise leaves, tried from the latest on.
SHARES = (0.7, 0.6, 0.5)


def again_s(twin: Twin, left_s: float, prompt_usd: float, miss_usd: float) -> float:
    """After how much silence, infinite where never; with `left_s` until the first token is due. `prompt_usd` is what a
    call costs that is left."""
    late_share = twin.late_share(left_s)
    best_s, least_usd = math.inf, late_share * miss_usd
    for share in SHARES:
        after_s = share * left_s
        made_usd = twin.late_share(after_s) * prompt_usd
        usd = made_usd + late_share * twin.late_share(left_s - after_s - CALL_S) * miss_usd
        if usd < least_usd:
            best_s, least_usd = after_s, usd
    return best_s
