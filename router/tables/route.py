"""`[[routes]]`: what else counts under a condition. The first whose condition holds is followed."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from router.tables.quota import Zone
from router.tables.strategy import Weights
from router.tables.table import Count, Name, Table, Whole
from router.tables.tier import require_places

SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


def _span(text: str) -> str:
    if not SPAN.fullmatch(text):
        raise ValueError('must be like "22:00-06:30"')
    return text


Span = Annotated[str, AfterValidator(_span)]


class Condition(Table):
    """Of which requests: all that is given must hold. `between` is a time of day in `zone`; it may pass midnight."""

    tasks: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    prompt_tokens_from: Annotated[Whole, Field(ge=0)] | None = None
    prompt_tokens_below: Count | None = None
    between: Span | None = None
    zone: Zone = "UTC"


class Route(Condition):
    """What counts for them: another tier, another model, another order, other weights. Privacy is never touched."""

    name: Name
    tier: str | None = None
    model: str | None = None
    order: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    strategy: Weights | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Route:
        if self.tier is None and self.model is None and self.order is None and self.strategy is None:
            raise ValueError("changes nothing: give it a tier, a model, an order or a strategy")
        require_places(self.order or ())
        return self
