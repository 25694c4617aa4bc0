"""`[providers.NAME]`: whom deployments are asked from, with which keys and within which limits."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from router.tables.quota import Quota
from router.tables.table import Name


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class Provider(Quota):
    """`key_env` names the variables that hold its keys: a pool, each with windows of its own.

    Without a key it is an error, unless `optional`: then it is shown as off. `off` turns it off for good.
    """

    key_env: Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]
    base_url: str | None = None
    optional: bool = False
    off: bool = False


Providers = dict[Name, Provider]
