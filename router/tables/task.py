"""`[tasks.NAME]`: a kind of work, or a role of an agent."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from router.tables.strategy import Weights
from router.tables.table import Count, Number, Size, Table


class Task(Table):
    """Which tier serves it and, where the active preset does not say, which model: its own, else one of `size`, or any.

    `needs` are capabilities that every request of it has. `temperature` and `max_tokens` go into requests that say
    none. `strategy` counts instead of the tier's.
    """

    tier: str
    model: str | None = None
    size: Size | None = None
    needs: tuple[str, ...] = ()
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    max_tokens: Count | None = None
    strategy: Weights = {}
