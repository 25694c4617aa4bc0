"""`[providers.NAME]`: whom deployments are asked from, with which keys and within which limits."""

from __future__ import annotations

from router.tables.quota import Quota
from router.tables.table import Flag, Names


class Provider(Quota):
    """`key_env` names the variables that hold its keys: a pool, each with windows of its own.

    Without a key it is an error, unless `optional`: then it is shown as off. `off` turns it off for good.
    """

    key_env: Names
    base_url: str | None = None
    optional: Flag = False
    off: Flag = False
