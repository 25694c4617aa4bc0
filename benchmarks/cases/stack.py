"""The stack under the load: one that runs already, or one of our own that is started and taken down again.

Our own is the stand-in cloud, and in front of it supervisor, router and vLLM, or (`fake`) the router alone with the
fake engine. It must not know the load, faults or figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cases.engine import NAME, STOP_S, Engine, FakeEngine, SupervisedEngine
from benchmarks.cases.passes import cloud_tier_in
from benchmarks.demo_stack import (
    DemoFailed,
    DemoStack,
    make_stack,
    new_key,
    only_demo,
    price_in,
    spillway_up,
    stand_in_cloud,
)
from engines.snapshot import state_home

STACK_FILE = Path(__file__).parents[2] / "compose" / "demo.toml"
LEDGER = "ledger.sqlite3"
ASK_S = 10.0
# litellm alone takes seconds to load on a busy machine.
SETTLE_S = 60.0
LOOK_S = 0.1
WARM_REQUESTS = 4
WARM_S = 60.0
WARM_BODY = json.dumps(
    {"model": "auto", "max_tokens": 16, "messages": [{"role": "user", "content": "Where does the water go?"}]}
).encode()
STANDARD = "standard"


@dataclass(frozen=True, slots=True)
class Stack:
    """`url` and `cloud_url` have no `/v1`. What is None cannot be broken (`engine`, `cloud_url`) or read (`ledger`).

    `key` is what the router wants to be asked with, empty where it is open.
    """

    url: str
    cloud_url: str | None = None
    ledger: Path | None = None
    engine: Engine | None = None
    default_tier: str = STANDARD
    task_tiers: Mapping[str, str] = field(default_factory=dict)
    key: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """What our own stack should be. `engine_options` are those of the fake engine, `cloud_options` of the stand-in."""

    config: Path = STACK_FILE
    fake: bool = False
    engine_options: Sequence[str] = ()
    cloud_options: Sequence[str] = ()
    usd_per_day: float | None = None


@contextmanager
def own_stack(wish: Wish) -> Iterator[Stack]:
    """It runs while the block does. Raises ValueError with a sentence when it does not start."""
    source = wish.config.read_text(encoding="utf-8")
    price = price_in(tomllib.loads(source))
    try:
        with tempfile.TemporaryDirectory(prefix="spillway-cases-") as folder:
            config = Path(folder) / "stack.toml"
            config.write_text(with_budget(source, wish.usd_per_day), encoding="utf-8")
            key = new_key()
            with stand_in_cloud(key, price, keep=False, options=wish.cloud_options) as cloud:
                # The supervisor's home is kept for its logs; a router alone leaves nothing worth keeping.
                home = Path(folder) if wish.fake else state_home() / "cases"
                stack = make_stack(config, home, cloud, key)
                running = _fake(stack, wish) if wish.fake else _supervised(stack)
                with running as engine:
                    settled(stack.router_url)
                    warmed(stack.router_url)
                    yield _described(stack, cloud.url, engine)
    except DemoFailed as error:
        raise ValueError(str(error)) from error


def root_of(url: str) -> str:
    """An address without `/v1`."""
    return url.rstrip("/").removesuffix("/v1")


def status(url: str, key: str = "") -> Mapping[str, Any]:
    """`GET /spillway/status`. Raises ValueError with a sentence when there is no router."""
    try:
        found = _asked(f"{url}/spillway/status", key)
    except (OSError, ValueError) as error:
        raise ValueError(f"no Spillway router answers at {url}/spillway/status: {error}") from error
    if not isinstance(found, dict) or "tiers" not in found:
        raise ValueError(f"{url}/spillway/status is not that of a Spillway router")
    return found


def settled(url: str) -> None:
    """Wait until an engine is known and no target is starting. Raises ValueError when that takes too long."""
    deadline_s = time.monotonic() + SETTLE_S
    while (waits := _waits(status(url)["targets"])) and time.monotonic() < deadline_s:
        time.sleep(LOOK_S)
    if waits:
        raise ValueError(f"the stack at {url} is not ready after {SETTLE_S:g} s: {waits}")


def warmed(url: str) -> None:
    """Ask at home and in the cloud until both have answered: what is done for the first time takes longer.

    Raises ValueError with the answer of what does not answer.
    """
    tiers = status(url)["tiers"]
    for hint in ({"x-spillway-privacy": "local-only"}, {"x-spillway-tier": cloud_tier_in(tiers)}):
        for _ in range(WARM_REQUESTS):
            request = urllib.request.Request(f"{url}/v1/chat/completions", WARM_BODY, hint)
            try:
                urllib.request.urlopen(request, timeout=WARM_S).close()
            except urllib.error.HTTPError as error:
                raise ValueError(f"the stack at {url} does not answer: {error.read()[:300]!r}") from error


def idle(stack: Stack, limit_s: float) -> bool:
    """Wait until no request is in flight, `limit_s` at most; whether it came to that."""
    deadline_s = time.monotonic() + limit_s
    while busy := any(each["in_flight"]["requests"] for each in status(stack.url, stack.key)["targets"]):
        if time.monotonic() > deadline_s:
            break
        time.sleep(LOOK_S)
    return not busy


def with_budget(text: str, usd_per_day: float | None) -> str:
    """The stack file with another `cloud_usd_per_day`. Raises ValueError where it has none."""
    if usd_per_day is None:
        return text
    lines = [
        f"cloud_usd_per_day = {usd_per_day}" if line.startswith("cloud_usd_per_day") else line
        for line in text.splitlines()
    ]
    text = "\n".join(lines) + "\n"
    if tomllib.loads(text).get("limits", {}).get("cloud_usd_per_day") != usd_per_day:
        raise ValueError("the stack file needs a line `cloud_usd_per_day = ...` in [limits] to be changed")
    return text


@contextmanager
def _supervised(stack: DemoStack) -> Iterator[Engine]:
    with only_demo(stack.home), spillway_up(stack, keep=False):
        yield SupervisedEngine(lambda: _pid_in(status(stack.router_url)))


@contextmanager
def _fake(stack: DemoStack, wish: Wish) -> Iterator[Engine]:
    engine = FakeEngine(wish.engine_options)
    try:
        command = [sys.executable, "-m", "router", "--config", str(stack.config), "--engine", f"{NAME}={engine.url}"]
        # In a session of its own, as `spillway up` is: a Ctrl-C ends the load first and the stack after it.
        router = subprocess.Popen(
            command, env=stack.environment, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            line = router.stdout.readline() if router.stdout else ""
            if " at " not in line:
                raise ValueError("the router did not start; its reason stands above")
            yield engine
        finally:
            router.terminate()
            router.communicate(timeout=STOP_S * 4)
    finally:
        engine.stop()


def _described(stack: DemoStack, cloud_url: str, engine: Engine) -> Stack:
    tables = tomllib.loads(stack.config.read_text(encoding="utf-8"))
    return Stack(
        url=stack.router_url,
        cloud_url=cloud_url,
        ledger=stack.home / LEDGER,
        engine=engine,
        default_tier=tables.get("limits", {}).get("default_tier", STANDARD),
        task_tiers={name: task["tier"] for name, task in tables.get("tasks", {}).items()},
    )


def _waits(targets: Sequence[Mapping[str, Any]]) -> str:
    """Why the stack is not ready, empty when it is."""
    if not any(str(each["name"]).startswith("local/") for each in targets):
        return "no engine is known yet"
    return ", ".join(f"{each['name']}: {each['state']}" for each in targets if "starting" in each["state"])


def _pid_in(found: Mapping[str, Any]) -> int | None:
    return next((engine["pid"] for engine in found["engines"]), None)


def _asked(url: str, key: str) -> Any:
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"} if key else {})
    with urllib.request.urlopen(request, timeout=ASK_S) as response:
        return json.load(response)
