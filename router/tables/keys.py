"""Keys, which stand in the environment and never in stack.toml."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from router.tables.endpoint import Endpoint
from router.tables.table import ConfigError


@dataclass(frozen=True, slots=True)
class Keys:
    """The API keys that clients may present; empty means that the endpoint is open."""

    accepted: frozenset[str]


def read_keys(endpoint: Endpoint, environment: Mapping[str, str] = os.environ) -> Keys:
    """The accepted keys. A named but empty variable refuses to start, because it would open the endpoint."""
    if endpoint.keys_env is None:
        return Keys(frozenset())
    accepted = frozenset(key.strip() for key in environment.get(endpoint.keys_env, "").split(",") if key.strip())
    if not accepted:
        raise ConfigError(
            f"[endpoint] keys_env: the variable {endpoint.keys_env} is empty or not set; put the keys there"
        )
    return Keys(accepted)


def engine_key(key_env: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """The key of an engine that somebody else runs; None where there is none, or none that can stand in a header."""
    key = environment.get(key_env, "").strip()
    return key if key and key.isascii() and key.isprintable() else None
