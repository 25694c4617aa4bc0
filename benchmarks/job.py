"""What a load generator is to do: the address, the request, how many connections, how long.

Pure: values and bytes. It must not know connections.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks.numbered import MARK
from benchmarks.wire import Json, encoded

PROMPT = "lorem ipsum dolor sit amet " * 23
NUMBER = "0000000000"


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests go. `headers` are whole lines."""

    host: str
    port: int
    path: str
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """One load. With `requests` it ends after so many instead of after `seconds`; nothing of it is warm-up then."""

    address: Address
    model: str
    connections: int = 1
    stream: bool = False
    tokens: int = 128
    numbered: bool = True
    warm_s: float = 1.0
    seconds: float = 5.0
    ramp_s: float = 0.0
    requests: int = 0
    drain_s: float = 40.0

    @property
    def mark(self) -> bytes:
        """What occurs once in every token on the wire."""
        return MARK if self.numbered else b"data:"


def address_of(url: str, path: str = "/v1/chat/completions", headers: tuple[str, ...] = ()) -> Address:
    """From a base URL, with or without `/v1`. Raises ValueError with a sentence."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"--url {url!r} must be an address such as http://127.0.0.1:4000; https is not measured.")
    prefix = parts.path.rstrip("/").removesuffix("/v1")
    for header in headers:
        if ":" not in header or "\n" in header:
            raise ValueError(f"--header {header!r} must be one line, such as 'Authorization: Bearer key'.")
    return Address(parts.hostname, parts.port or 80, prefix + path, headers)


def requests_of(job: Job) -> Callable[[int], bytes]:
    """Makes the bytes of the n-th request: all differ, so that no cache answers for the engine."""
    said = f"Request {NUMBER}: {PROMPT}"
    body: Json = {"model": job.model}
    if "chat" in job.address.path:
        system = {"role": "system", "content": "You are a helpful assistant."}
        body |= {"messages": [system, {"role": "user", "content": said}]}
    else:
        body |= {"prompt": said}
    content = encoded(body | {"max_tokens": job.tokens, "temperature": 0.7, "stream": job.stream})
    address = job.address
    lines = [
        f"POST {address.path} HTTP/1.1",
        f"Host: {address.host}:{address.port}",
        "User-Agent: spillway-benchmarks",
        "Accept: */*",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *address.headers,
    ]
    before, after = ("\r\n".join(lines).encode() + b"\r\n\r\n" + content).split(NUMBER.encode())
    return lambda number: b"%b%010d%b" % (before, number % 10 ** len(NUMBER), after)
