"""`[shadows.NAME]` and `[splits.NAME]`: a part of the traffic tries another model."""

from __future__ import annotations

from router.tables.route import Condition
from router.tables.table import Share


class Shadow(Condition):
    """A copy of `percent` of these requests goes to `model` too; its answer is counted and written, and not shown."""

    percent: Share
    model: str


class Split(Condition):
    """`percent` of the tenants of these requests, by a hash of their names, are served by `model` instead."""

    percent: Share
    model: str
