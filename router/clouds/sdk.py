"""litellm, loaded and told to keep quiet: no look into the internet, no tokens counted, no logs, a silent console.

It takes two seconds and about 120 MB to import, so it is loaded once, on a thread, and only where a key is set.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Mapping
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


def load() -> Any:
    """The SDK, ready for its first call. Blocks for seconds: call it on a thread."""
    for name, value in OFFLINE.items():
        os.environ.setdefault(name, value)
    sdk: Any = importlib.import_module("litellm")
    for name, setting in SETTINGS.items():
        setattr(sdk, name, setting)
    asyncio.run(_rehearse(sdk))
    return sdk


async def _rehearse(sdk: Any) -> None:
    """A call that goes nowhere: litellm imports half of itself only with the first one, which would cost a second."""
    words = [{"role": "user", "content": "."}]
    stream = await sdk.acompletion(model="openai/rehearsal", messages=words, mock_response=".", stream=True)
    async for _ in stream:
        pass
