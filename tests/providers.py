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

from tests.provider_words import Mode


@dataclass(frozen=True, slots=True)
class RunningProvider:
    """The process, and the root of its addresses."""

    url: str
    process: subprocess.Popen[str]

    def switch(self, mode: Mode, provider: str) -> None:
        """How it answers the next request of this provider."""
        body = json.dumps({"mode": mode, "provider": provider}).encode()
        urllib.request.urlopen(f"{self.url}/_switch", data=body, timeout=10).close()

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


def deployment(name: str, model: str, url: str, **more: Any) -> str:
    """A `[clouds.NAME]` table for this litellm model at this base URL, serving a model of the same name."""
    values = {
        "model": model,
        "key_env": "STAND_IN_KEY",
        "base_url": url,
        "serves": [name],
        "input_usd_per_mtok": 1.0,
        "output_usd_per_mtok": 2.0,
        "capabilities": ["chat", "completion", "tools", "vision", "json_schema", "reasoning"],
    } | more
    return f"\n[clouds.{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
