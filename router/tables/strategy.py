"""`strategy = { NAME = WEIGHT }`: which scorers decide among targets of the same rank, and how much each counts.

What each does stands beside its function in `router.routing.scorers`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from router.tables.table import Number


class Strategy(StrEnum):
    """The names of the scorers."""

    LEAST_BUSY = "least_busy"
    LEAST_LATENCY = "least_latency"
    CHEAPEST = "cheapest"
    FREE_QUOTA = "free_quota"
    ROUND_ROBIN = "round_robin"
    WEIGHTED = "weighted"
    AFFINITY = "affinity"


Weight = Annotated[Number, Field(ge=0, le=1000)]
# Empty: least busy alone.
Weights = dict[Strategy, Weight]
