"""litellm, loaded and told to keep quiet: no look into the internet, no tokens counted, no logs, a silent console.

It takes two seconds and about 120 MB to import, so it is loaded once, on a thread, and only where a key is set. What it
would import only with the first call, or with the first failure, is loaded there too: on the event loop that would hold
up every stream for half a second, more on a busy machine.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

# Without these litellm fetches tables from the internet: its prices while it is imported, and with the first request to
# Anthropic, on the event loop and for up to 5 s, the names of Anthropic's beta features. Its wheel holds both.
OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True"}
SETTINGS: Mapping[str, object] = {
    "suppress_debug_info": True,
    "telemetry": False,
    # It would rebuild every answer for logs that nobody reads.
    "disable_streaming_logging": True,
    # A field that a provider does not know is left out. What an answer hangs on must not be: see `call.KEPT`.
    "drop_params": True,
    # Of a stream without usage, or one that breaks, it would count the tokens itself, on the event loop, and for a
    # Llama download a tokenizer first, with retries for 23 s. Zero tokens are taken for unknown (`answers`).
    "disable_token_counter": True,
    "disable_hf_tokenizer_download": True,
}


# Longer than it takes to find that nobody listens on this machine.
REFUSED_S = 2.0


def load(models: Collection[str] = ()) -> Any:
    """The SDK, ready for its first call to any of these models. Blocks for seconds: call it on a thread."""
    for name, value in OFFLINE.items():
        os.environ.setdefault(name, value)
    sdk: Any = importlib.import_module("litellm")
    for name, setting in SETTINGS.items():
        setattr(sdk, name, setting)
    asyncio.run(_rehearse(sdk, models))
    return sdk


async def _rehearse(sdk: Any, models: Collection[str]) -> None:
    """Calls that go nowhere: litellm imports much of itself only with the first one, and all of FastAPI with the first
    that fails."""
    words = [{"role": "user", "content": "."}]
    stream = await sdk.acompletion(model="openai/rehearsal", messages=words, mock_response=".", stream=True)
    async for _ in stream:
        pass
    with socket.socket() as nobody:
        # Taken, so that nobody else comes to listen there, and nobody does.
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        last = {"api_key": "rehearsal", "api_base": url, "timeout": REFUSED_S, "max_retries": 0, "num_retries": 0}
        for model in models:
            # However it fails, it has done what it is for.
            with suppress(Exception):
                await sdk.acompletion(model=model, messages=words, **last)
    await sdk.close_litellm_async_clients()
