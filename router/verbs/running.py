"""The router that runs, asked over HTTP from another process of the same machine."""

from __future__ import annotations

import http.client
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson

from router.tables.endpoint import Endpoint
from router.verbs.given import VerbError

ANSWER_S = 5.0
# What of a status the verbs read.
STATUS = frozenset({"config", "presets", "workers"})
OK = 200
# A router that listens on every address is asked on the loopback one.
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class Running:
    """A router at one address, with a key that it accepts."""

    def __init__(self, host: str, port: int, key: str = "") -> None:
        self.host, self.port = LOOPBACK.get(host, host), port
        self._key = key

    def __repr__(self) -> str:
        return f"<Running at={self.host}:{self.port}>"

    def status(self) -> dict[str, Any] | None:
        """What it says of itself; None where nothing answers. Raises VerbError for an answer that is no status."""
        found = self._ask("GET", "/spillway/status")
        if found is not None and not found.keys() >= STATUS:
            raise VerbError(f"{self.host}:{self.port} is no router of Spillway; name another address with --router")
        return found

    def route(self, body: bytes, headers: Mapping[str, str], tokens: int | None) -> dict[str, Any] | None:
        """Where this request would go; None where nothing answers. Raises VerbError with the router's own words."""
        path = "/spillway/route" if tokens is None else f"/spillway/route?tokens={tokens}"
        return self._ask("POST", path, body, headers)

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any] | None:
        own = {"authorization": f"Bearer {self._key}"} if self._key else {}
        connection = http.client.HTTPConnection(self.host, self.port, timeout=ANSWER_S)
        try:
            connection.request(method, path, body, {**(headers or {}), **own})
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return self._understood(answer.status, said)

    def _understood(self, status: int, said: bytes) -> dict[str, Any]:
        try:
            found = orjson.loads(said)
        except orjson.JSONDecodeError:
            found = None
        if status == OK and isinstance(found, dict):
            return found
        error = found.get("error") if isinstance(found, dict) else None
        words = error.get("message") if isinstance(error, dict) else error
        raise VerbError(f"{self.host}:{self.port} answers {status}: {words or 'not a word of ours'}")


def running_at(address: str | None, endpoint: Endpoint) -> Running:
    """Where the router should run: at `address` (HOST:PORT), else at that of stack.toml. Raises VerbError."""
    key = os.environ.get(endpoint.keys_env, "").split(",")[0].strip() if endpoint.keys_env else ""
    if address is None:
        return Running(endpoint.host, endpoint.port, key)
    parts = urlsplit(f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or port is None:
        raise VerbError(f"--router {address}: write it like 127.0.0.1:4000")
    return Running(host, port, key)


def another(status: Mapping[str, Any] | None, path: Path) -> str | None:
    """What to say where a router answers that does not read this stack.toml."""
    obeyed = status["config"]["path"] if status else None
    if status is None or (obeyed is not None and os.path.realpath(obeyed) == os.path.realpath(path)):
        return None
    return f"the router that runs does not read this file: it obeys {obeyed or 'no file'}"
