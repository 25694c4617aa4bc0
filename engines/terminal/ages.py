"""How long ago, for people. Pure."""

from __future__ import annotations

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400


def ago(age_s: float) -> str:
    """Two digits or so and the unit: "12 s", "3 min", "5 h", "2 d"."""
    if age_s < MINUTE_S:
        return f"{age_s:.0f} s"
    if age_s < HOUR_S:
        return f"{age_s // MINUTE_S:.0f} min"
    return f"{age_s // HOUR_S:.0f} h" if age_s < DAY_S else f"{age_s // DAY_S:.0f} d"
