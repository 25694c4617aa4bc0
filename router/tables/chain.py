"""`[chains.MODEL]`: who stands in for a model."""

from __future__ import annotations

from router.tables.table import Table


class Chain(Table):
    """Models that serve when none of the model's own targets does, first to last, and then those for an emergency."""

    fallbacks: tuple[str, ...] = ()
    emergency: tuple[str, ...] = ()
