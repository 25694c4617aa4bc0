"""The demo's own stack, apart from any other: the stand-in cloud, `spillway up` and `spillway down`, and its status.

The one door to processes for the demo. It must not know phases, users or figures.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.loopback import HOST
from benchmarks.price import Price

CLOUD = "stand-in"
STOP_S = 10.0


class DemoFailed(RuntimeError):
    """The demo cannot go on; the text says why and what to look at."""


@dataclass(frozen=True, slots=True)
class DemoStack:
    """The generated stack file and what the demo needs to know of it."""

    config: Path
    home: Path
    router_url: str
    price: Price
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CloudProcess:
    """The running stand-in; `url` has no `/v1`."""

    url: str
    pid: int


@contextmanager
def only_demo(home: Path) -> Iterator[None]:
    """Two of one checkout would take each other's stack down. Raises DemoFailed for the second."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoFailed(f"Another one runs in {home}; wait for its end, or set another SPILLWAY_HOME.") from error
        yield


@contextmanager
def stand_in_cloud(key: str, price: Price, *, keep: bool, options: Sequence[str] = ()) -> Iterator[CloudProcess]:
    """The cloud process while the block runs. With `keep` it stays afterwards. `options` of the verb outrank ours."""
    # Eight words a delta: the demo is to load the routing, not the JSON parsers of a small machine.
    own = ["--key", key, "--words-per-delta", "8"]
    own += ["--input-usd-per-mtok", f"{price.input_usd_per_mtok}"]
    own += ["--output-usd-per-mtok", f"{price.output_usd_per_mtok}"]
    command = [sys.executable, "-m", "benchmarks", "cloud", *own, *options]
    # In a session of its own, so that a Ctrl-C for the demo does not take it away before the stack is down.
    cloud = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        line = cloud.stdout.readline() if cloud.stdout else ""
        if " at " not in line:
            raise DemoFailed("The stand-in cloud did not start; its reason stands above.")
        yield CloudProcess(line.split(" at ")[-1].strip().removesuffix("/v1"), cloud.pid)
    finally:
        if not keep:
            cloud.terminate()
            cloud.communicate(timeout=STOP_S)


@contextmanager
def spillway_up(stack: DemoStack, *, keep: bool) -> Iterator[None]:
    """The stack while the block runs. It is taken down whatever happens, a Ctrl-C during the start included."""
    try:
        if _spillway(stack, "up", "--config", str(stack.config)) != 0:
            raise DemoFailed(f"The stack did not start; the reason stands above, the logs are in {stack.home}.")
        yield
    finally:
        if not keep:
            _spillway(stack, "down")


def _spillway(stack: DemoStack, *arguments: str) -> int:
    program = Path(sys.executable).with_name("spillway")
    try:
        # In a session of its own: one Ctrl-C must reach it once, from us, and it needs its time to clean up after it.
        child = subprocess.Popen([program, *arguments], env=stack.environment, start_new_session=True)
    except OSError as error:
        raise DemoFailed(f"{program} cannot be run: {error}. Run `make demo`, which installs it.") from error
    try:
        return child.wait()
    except KeyboardInterrupt:
        child.send_signal(signal.SIGINT)
        child.wait()
        raise


def make_stack(source: Path, home: Path, cloud: CloudProcess, key: str) -> DemoStack:
    """Write the copy of `source` with a free port and the cloud's address. Raises ValueError on a wrong file."""
    port = free_port()
    text = with_addresses(source.read_text(encoding="utf-8"), port, f"{cloud.url}/v1")
    tables = tomllib.loads(text)
    home.mkdir(parents=True, exist_ok=True)
    config = home / "demo.toml"
    config.write_text(text, encoding="utf-8")
    return DemoStack(
        config=config,
        home=home,
        router_url=f"http://{HOST}:{port}",
        price=price_in(tables),
        environment={**os.environ, "SPILLWAY_HOME": str(home), tables["clouds"][CLOUD]["key_env"]: key},
    )


def with_addresses(text: str, port: int, cloud_url: str) -> str:
    """The stack file with these addresses in place of its own. Raises ValueError where they do not belong."""
    text = re.sub(r"(?m)^port = .*$", f"port = {port}", text, count=1)
    text = re.sub(r"(?m)^base_url = .*$", f'base_url = "{cloud_url}"', text, count=1)
    tables = tomllib.loads(text)
    if tables.get("endpoint", {}).get("port") != port:
        raise ValueError("The demo's stack file needs a line `port = ...` in [endpoint], before any other such line.")
    if tables.get("clouds", {}).get(CLOUD, {}).get("base_url") != cloud_url:
        raise ValueError(f"The demo's stack file needs a line `base_url = ...` in [clouds.{CLOUD}].")
    return text


def price_in(tables: Mapping[str, Any]) -> Price:
    """The stand-in's price as the stack file states it. Raises ValueError without one."""
    cloud = tables.get("clouds", {}).get(CLOUD, {})
    try:
        return Price(float(cloud["input_usd_per_mtok"]), float(cloud["output_usd_per_mtok"]))
    except KeyError as error:
        raise ValueError(f"The demo's stack file needs {error.args[0]} in [clouds.{CLOUD}].") from error


def new_key() -> str:
    """A key that only this demo's router and cloud know."""
    return f"sk-stand-in-{secrets.token_hex(8)}"


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


async def fetched(client: aiohttp.ClientSession, url: str) -> Mapping[str, Any]:
    """A JSON object, empty when it cannot be had now."""
    try:
        async with client.get(url) as response:
            found = await response.json()
    except (TimeoutError, aiohttp.ClientError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
