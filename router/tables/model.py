"""`[models.NAME]` and `[external.NAME]`, which are the engines' tables, as far as the router may know them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from router.tables.table import Size, Whole


class LocalModel(BaseModel):
    """A model that engines of ours serve. What else stands in its table is theirs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    size: Size | None = None
    twin: str | None = None
    context_tokens: Whole | None = None


class ExternalServer(BaseModel):
    """A server of somebody else; the names of `models` are those that applications use. None: nobody knows them yet."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    models: dict[str, str] | None = None
