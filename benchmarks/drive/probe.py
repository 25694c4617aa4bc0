"""What serves at an address: asked once before a run, so that a wrong address or model is a sentence, not a table.

The one door to an endpoint outside of a load.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

from benchmarks.drive.endpoint import Endpoint, endpoint_of

PATIENCE_S = 10.0
OK = 200
UNAUTHORISED = (401, 403)


@dataclass(frozen=True, slots=True)
class Server:
    """`model` is the one to ask for. `engine` is "spillway", "vllm", what the models' list says, or "" where unknown.

    `status` is what Spillway says of itself, empty elsewhere.
    """

    model: str
    models: tuple[str, ...]
    max_model_len: int | None = None
    engine: str = ""
    version: str = ""
    status: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_spillway(self) -> bool:
        """Whether a router answers, which may choose a model."""
        return self.engine == "spillway"


async def probe(url: str, model: str | None = None, key: str | None = None) -> Server:
    """Ask what serves at `url`. Without a `model`, the first that it lists is taken.

    Raises ValueError with a sentence: nothing answers, it is no OpenAI endpoint, it refuses the key, or it has no such
    model.
    """
    endpoint = endpoint_of(url, model or "", key=key)
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as client:
        listed = _entries(await _models(client, endpoint), endpoint)
        status = await _optional(client, f"{endpoint.root}/spillway/status")
        version = await _optional(client, f"{endpoint.root}/version")
    names = tuple(listed)
    chosen = model or next(iter(names), "")
    if chosen not in listed:
        raise ValueError(_no_such_model(endpoint, model, names))
    entry = listed[chosen]
    length = entry.get("max_model_len")
    return Server(
        model=chosen,
        models=names,
        max_model_len=length if isinstance(length, int) else None,
        engine="spillway" if "targets" in status else str(entry.get("owned_by") or ""),
        version=str(version.get("version") or ""),
        status=status,
    )


async def _models(client: aiohttp.ClientSession, endpoint: Endpoint) -> tuple[int, bytes]:
    try:
        async with client.get(f"{endpoint.root}/v1/models") as response:
            return response.status, await response.read()
    except TimeoutError:
        raise ValueError(f"{endpoint.root} accepts connections and does not answer within {PATIENCE_S:g} s.") from None
    except (aiohttp.ClientSSLError, ssl.SSLError) as error:
        raise ValueError(f"{endpoint.root} cannot be trusted: {error}.") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ValueError(f"Nothing answers at {endpoint.root} ({error}): start it, or name another --url.") from error


def _entries(answer: tuple[int, bytes], endpoint: Endpoint) -> dict[str, Mapping[str, Any]]:
    """What is listed, by name."""
    status, raw = answer
    where = f"{endpoint.root}/v1/models"
    if status in UNAUTHORISED:
        what = "refuses the key" if endpoint.key else "wants a key"
        raise ValueError(f"{where} {what} (status {status}): name the variable that holds the right one.")
    try:
        told: Any = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        told = None
    entries = told.get("data") if isinstance(told, dict) else None
    if status != OK or not isinstance(entries, list):
        raise ValueError(f"{where} is not an OpenAI endpoint: status {status}, {raw[:80].decode(errors='replace')!r}.")
    return {str(entry["id"]): entry for entry in entries if isinstance(entry, dict) and "id" in entry}


async def _optional(client: aiohttp.ClientSession, url: str) -> Mapping[str, Any]:
    """A JSON object that an endpoint may have: empty where it has none."""
    try:
        async with client.get(url) as response:
            told: Any = msgspec.json.decode(await response.read()) if response.status == OK else {}
    except (TimeoutError, aiohttp.ClientError, OSError, msgspec.DecodeError):
        return {}
    return told if isinstance(told, dict) else {}


def _no_such_model(endpoint: Endpoint, model: str | None, names: Sequence[str]) -> str:
    if not names:
        return f"{endpoint.root} serves no model yet: wait until one is ready."
    return f"{endpoint.root} does not serve {model!r}; it serves {', '.join(names)}."
