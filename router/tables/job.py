"""`[jobs.NAME]`: how many tokens of which task one job of yours takes, for `spillway cost`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from router.tables.table import Name, Table, Whole

Tokens = Annotated[Whole, Field(ge=0)]


class Use(Table):
    """Of one task in one job."""

    prompt_tokens: Tokens
    completion_tokens: Tokens = 0


class Job(Table):
    """The tokens of each of its tasks."""

    tasks: dict[Name, Use] = Field(min_length=1)
