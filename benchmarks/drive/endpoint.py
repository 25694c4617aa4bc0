"""Where a workload is sent, and what every request of it has in common. Pure values; it must not know sockets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

LIMIT_S = 300.0
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`prefix` is the path before `/v1`. `limit_s` bounds each request; one that takes longer is a timeout.

    `extra` is added to every body, such as `{"temperature": 0}`; `headers` to every request. `needs_usage`: an answer
    without a token count is an error; `pins_length`: an answer of a wanted length is asked for with `ignore_eos`.
    `hides_length`: the length is in `min_tokens` and `seed` instead, and `max_tokens` says nothing of it.
    """

    host: str
    port: int
    model: str
    prefix: str = ""
    is_secure: bool = False
    key: str | None = None
    limit_s: float = LIMIT_S
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    needs_usage: bool = True
    pins_length: bool = True
    hides_length: bool = False

    @property
    def root(self) -> str:
        """The address without `/v1`, as a person writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.is_secure else ''}://{host}:{self.port}{self.prefix}"


def endpoint_of(url: str, model: str, **more: Any) -> Endpoint:
    """From an address with or without `/v1`; `more` are further fields of Endpoint. Raises ValueError."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"--url {url!r}: {error}") from None
    if parts.scheme not in PORTS or not parts.hostname or parts.query or parts.username:
        raise ValueError(f"--url {url!r} must be an address such as http://127.0.0.1:4000 or https://host/v1.")
    prefix = parts.path.rstrip("/").removesuffix("/v1")
    endpoint = Endpoint(
        parts.hostname, port or PORTS[parts.scheme], model, prefix, is_secure=parts.scheme == "https", **more
    )
    for name, value in endpoint.headers.items():
        if not (name.isascii() and value.isascii() and name.isprintable() and value.isprintable()) or ":" in name:
            raise ValueError(f"--header {name!r}: a name and a value in one line of ASCII are needed.")
    if endpoint.key is not None and not (endpoint.key.isascii() and endpoint.key.isprintable()):
        raise ValueError("The key has characters that no header can carry: check the variable it is read from.")
    if endpoint.limit_s <= 0:
        raise ValueError(f"A request may take {endpoint.limit_s:g} s: the limit must be above 0.")
    return endpoint
