"""Starts the real router as a process for tests, in front of engines given by URL, with a small stack.toml."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from openai.types.chat import ChatCompletionMessageParam

KEY = "sk-test"
TIERS = """
[tiers.bulk]
ttft_target_s = 20.0
order = ["local"]
may_spill = false
[tiers.standard]
ttft_target_s = 2.0
[tiers.premium]
ttft_target_s = 1.0
order = ["cloud", "local"]
[tasks.coding]
tier = "premium"
"""


@dataclass(frozen=True, slots=True)
class Router:
    """A running router and the root of its addresses, without `/v1`."""

    url: str
    process: subprocess.Popen[str]

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as response:
            return json.load(response)

    def target(self, name: str) -> Any:
        return next(each for each in self.get("/spillway/status")["targets"] if each["name"] == name)


LONGEST_WAIT_S = 60.0
# Between two looks: who looks without a pause takes the processor from whom it waits for.
PAUSE_S = 0.01
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Where does the water go?"}]
CHAT = "/v1/chat/completions"


def asked(model: str = "tiny", **more: Any) -> bytes:
    """The body of a small request."""
    return json.dumps({"model": model, "messages": HELLO, "max_tokens": 4} | more).encode()


def post(router: Router, body: bytes, path: str = CHAT, **headers: str) -> tuple[int, dict[str, str], Any]:
    """(status, headers, answer). Header names are written with underscores."""
    request = urllib.request.Request(router.url + path, body, {k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, dict(response.headers), json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), json.load(error)


def until(holds: Callable[[], bool], limit_s: float = LONGEST_WAIT_S) -> None:
    """Look until it holds. It is the condition that ends this, never the clock, unless it does not come true at all."""
    deadline_s = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline_s, "it never came true"
        time.sleep(PAUSE_S)


def cloud_table(url: str, serves: str = "tiny", name: str = "stand-in") -> str:
    return f"""
[clouds.{name}]
model = "openai/stand-in"
key_env = "STAND_IN_KEY"
base_url = "{url}/v1"
input_usd_per_mtok = 0.15
output_usd_per_mtok = 0.60
serves = ["{serves}"]
"""


@contextmanager
def running_router(
    folder: Path,
    config: str,
    engines: Mapping[str, str],
    environment: Mapping[str, str] | None = None,
    settle: bool = True,
    errors: IO[str] | None = None,
) -> Iterator[Router]:
    """`spillway router` until the block is left. It has heard of its engines and loaded what clouds need, unless not
    to `settle`. What it writes to stderr goes to `errors`."""
    path = folder / "stack.toml"
    path.write_text(config)
    options = [option for name, url in engines.items() for option in ("--engine", f"{name}={url}")]
    if "port = " not in config:
        options += ["--port", "0"]
    command = [sys.executable, "-m", "router", "--config", str(path), *options]
    variables = {**os.environ, "STAND_IN_KEY": KEY, "SPILLWAY_HOME": str(folder / "home"), **(environment or {})}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=variables) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            router = Router(line.split(" at ")[-1].strip().removesuffix("/v1"), process)
            if settle:
                _wait_until_settled(router)
            yield router
        finally:
            process.terminate()


def _wait_until_settled(router: Router) -> None:
    """Until every target is known and none is starting."""
    while not _is_settled(_states(router)):
        time.sleep(PAUSE_S)


def _is_settled(states: Mapping[str, str]) -> bool:
    return any(name.startswith("local/") for name in states) and not any("starting" in each for each in states.values())


def _states(router: Router) -> dict[str, str]:
    try:
        return dict(router.get("/readyz")["targets"])
    except urllib.error.HTTPError as error:
        return dict(json.load(error)["targets"])
