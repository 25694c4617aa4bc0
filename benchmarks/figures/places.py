"""Where the figures of a run can be looked up: the engines and the router behind an address.

What answers is asked once, before the run. An address that says nothing of itself, as a cloud's, is no error.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from benchmarks.figures.page import page_of
from benchmarks.figures.pages import engine_page
from benchmarks.price import Price


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses without a path. `reads_gpus`: the endpoint is on this machine, so that its GPUs are ours to read."""

    engines: tuple[str, ...] = ()
    router: str | None = None
    reads_gpus: bool = False
    cloud_price: Price | None = None


async def places_of(url: str) -> Places:
    """What is behind an address, with or without `/v1`; what does not answer is left out, and nothing is raised.

    Spillway's router names its engines and clouds; else the address may be an engine itself.
    """
    root = url.rstrip("/").removesuffix("/v1")
    here = _is_here(root)
    body, page = await asyncio.gather(page_of(f"{root}/spillway/status"), page_of(f"{root}/metrics"))
    status = _status(body)
    if status is not None:
        engines = tuple(each["url"] for each in status["engines"]) if here else ()
        return Places(engines, root, here, _price(status.get("clouds", ())))
    return Places((root,) if page is not None and engine_page(page) else (), None, here)


def _status(body: bytes | None) -> Mapping[str, Any] | None:
    try:
        found = json.loads(body or b"null")
    except ValueError:
        return None
    return found if isinstance(found, dict) and "engines" in found else None


def _price(clouds: Any) -> Price | None:
    """Of the first cloud that is on and has a price."""
    priced = (each for each in clouds if each["state"] == "on" and each["input_usd_per_mtok"] is not None)
    return next((Price(each["input_usd_per_mtok"], each["output_usd_per_mtok"]) for each in priced), None)


def _is_here(root: str) -> bool:
    host = urlsplit(root).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in {"localhost", socket.gethostname()}
