"""The router seen from the command line: is its port free, does it answer, what does it say of itself.

Knows one address; nothing of how the router runs.
"""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
from collections.abc import Mapping
from typing import Any

import psutil

from engines.errors import SpillwayError

ANSWER_S = 2.0
OK = 200


class PortTakenError(SpillwayError):
    """The router cannot listen where it should; the message says who is there and what to do."""


def require_free(host: str, port: int) -> None:
    """Raises PortTakenError unless a server could listen on host and port now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTakenError(
                    f"port {port} on {host} is taken by {_holder(port)}. Stop that, or set another port in "
                    "stack.toml [endpoint] port."
                ) from error
            raise PortTakenError(
                f"the router cannot listen on {host}:{port}: {error.strerror}. Change stack.toml [endpoint]."
            ) from error


def _holder(port: int) -> str:
    try:
        for each in psutil.net_connections("tcp"):
            if each.laddr and each.laddr.port == port and each.status == psutil.CONN_LISTEN and each.pid:
                return f"{psutil.Process(each.pid).name()} (pid {each.pid})"
    except psutil.Error:
        pass
    return "another process (whose owner the system does not show)"


def read_status(host: str, port: int, keys_env: str | None = None) -> dict[str, Any] | None:
    """What the router says at /spillway/status to whoever has a key of the named variable; None if nothing."""
    key = os.environ.get(keys_env, "").split(",")[0].strip() if keys_env else ""
    text = _get(host, port, "/spillway/status", {"authorization": f"Bearer {key}"} if key else {})
    try:
        found = json.loads(text or b"null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _get(host: str, port: int, path: str, headers: Mapping[str, str]) -> bytes | None:
    # A router that listens on every address is asked on the loopback one.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_S)
    try:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        text = answer.read()
        return text if answer.status == OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
