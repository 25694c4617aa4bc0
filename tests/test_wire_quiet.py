"""litellm, as the router loads it, asks nobody but the provider: no tables and no tokenizers from the internet. Nor
does a call find anything left to import, which would hold up all others meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.providers import running_provider

# What would make it look elsewhere: Anthropic's beta features, and streams of a Llama that tell no usage or break off.
SCRIPT = """
import asyncio, json, socket, sys

hosts = set()
ask = socket.getaddrinfo

def listened(host, *rest, **more):
    hosts.add(str(host))
    return ask(host, *rest, **more)

socket.getaddrinfo = listened
from router.clouds.sdk import load

MODELS = {"anthropic/claude-sonnet-4-5": "anthropic", "groq/llama-3.3-70b-versatile": "groq",
          "sambanova/Meta-Llama-3.1-405B-Instruct": "sambanova+cut", "openai/gpt-5-mini": "openai+broken"}

async def calls(sdk, url):
    words = [{"role": "user", "content": "Where does the water go?"}]
    for model, path in MODELS.items():
        try:
            stream = await sdk.acompletion(model=model, messages=words, api_key="sk-test", api_base=f"{url}/{path}",
                                           stream=True, max_tokens=200, max_retries=0)
            async for _ in stream:
                pass
        except sdk.openai.OpenAIError:
            pass

sdk = load(MODELS)
loaded = set(sys.modules)
asyncio.run(calls(sdk, sys.argv[1]))
print(json.dumps([sorted(hosts), sorted(set(sys.modules) - loaded)]))
"""


def test_nobody_else_is_looked_up_and_nothing_more_is_imported() -> None:
    with running_provider() as provider:
        command = [sys.executable, "-c", SCRIPT, provider.url]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        asked = provider.asked()
    assert len(asked) == 4
    assert json.loads(run.stdout.splitlines()[-1]) == [[], []]
    assert "huggingface" not in run.stderr
    assert "Failed to fetch" not in run.stderr
