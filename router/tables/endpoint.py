"""`[endpoint]`: where applications find the router."""

from __future__ import annotations

import ipaddress

from pydantic import Field, model_validator

from router.tables.table import Table, Whole

MOST_WORKERS = 64


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Endpoint(Table):
    """Where applications find the router; port 0 takes a free one. `keys_env` names the variable with the API keys.

    `workers` router processes share the port, each with a CPU core to fill; one is a router without a parent process.
    """

    host: str = "127.0.0.1"
    port: Whole = Field(4000, ge=0, le=65535)
    workers: Whole = Field(1, ge=1, le=MOST_WORKERS)
    keys_env: str | None = None

    @model_validator(mode="after")
    def _open_only_on_loopback(self) -> Endpoint:
        if not is_loopback(self.host) and self.keys_env is None:
            raise ValueError(f'host "{self.host}" can be reached from elsewhere: set keys_env, or use 127.0.0.1')
        return self
