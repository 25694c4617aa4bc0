"""Starts the stand-in provider as a real process, and says how stack.toml names its deployments."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.provider_words import Json, Mode


@dataclass(frozen=True, slots=True)
class RunningProvider:
    """The process, and the root of its addresses."""

    url: str
    process: subprocess.Popen[str]

    def asked(self) -> list[dict[str, Any]]:
        """The requests since the last look: path, query, headers (names in lower case) and body."""
        with urllib.request.urlopen(f"{self.url}/_asked", timeout=10) as response:
            return list(json.load(response))


@contextmanager
def running_provider() -> Iterator[RunningProvider]:
    """`python -m tests.stand_in_provider` until the block is left."""
    command = [sys.executable, "-m", "tests.stand_in_provider"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            yield RunningProvider(line.split("at ")[-1].strip(), process)
        finally:
            process.terminate()


# Whom litellm knows, each with a model of theirs by litellm's name, and any server that speaks OpenAI's format.
MODELS = {
    "openai": "openai/gpt-4o-mini",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "gemini": "gemini/gemini-2.5-flash",
    "groq": "groq/llama-3.3-70b-versatile",
    "mistral": "mistral/mistral-small-latest",
    "together_ai": "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "openrouter": "openrouter/deepseek/deepseek-chat",
    "deepseek": "deepseek/deepseek-chat",
    "sambanova": "sambanova/Meta-Llama-3.1-405B-Instruct",
    "nebius": "nebius/deepseek-ai/DeepSeek-V3",
    "somebody": "openai/their-model",
}
ALL = ["chat", "completion", "embeddings", "tools", "vision", "json_schema", "reasoning"]


def deployment(url: str, provider: str, mode: Mode = Mode.OK, name: str = "", **more: Any) -> str:
    """A `[clouds.*]` table for this provider, named as it is unless told otherwise; its model is `via-NAME`."""
    name = name or provider
    values: Json = {
        "model": MODELS[provider],
        "key_env": "STAND_IN_KEY",
        "base_url": f"{url}/{provider}" + ("" if mode is Mode.OK else f"+{mode}"),
        "serves": [f"via-{name}"],
        "input_usd_per_mtok": 1.0,
        "output_usd_per_mtok": 2.0,
        "capabilities": ALL,
    }
    given = values | more
    return f"\n[clouds.{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items())
