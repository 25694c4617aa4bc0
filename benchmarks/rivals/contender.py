"""The routers that share the engine out, each as a process at an address of its own while it is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from benchmarks.demo_stack import free_port, new_key
from benchmarks.loopback import HOST
from benchmarks.machine import on_core
from benchmarks.price import Price
from benchmarks.process import process, until_ready
from benchmarks.rivals.engine import MODEL
from benchmarks.rivals.serving import serving

CLOUD_MODEL = "stand-in"
KEY = "SPILLWAY_STAND_IN_KEY"
# Whoever asks so is answered by the cloud, where the router knows tiers.
CLOUD_TIER = "premium"


class Policy(StrEnum):
    """Who decides."""

    LITELLM = "LiteLLM"
    THRESHOLD = "in flight"
    SPILLWAY = "Spillway"


@dataclass(frozen=True, slots=True)
class Contender:
    """A policy, and its one number where it has one: requests that may be at home at once."""

    policy: Policy
    most: int | None = None

    @property
    def name(self) -> str:
        """For tables."""
        return str(self.policy) if self.most is None else f"{self.policy} < {self.most}"


@dataclass(frozen=True, slots=True)
class Ground:
    """What every contender stands between: engine and cloud by address (without `/v1`), and what the cloud costs.

    `litellm` is the program of an environment with LiteLLM's proxy; `core` is where contenders run.
    """

    engine_url: str
    cloud_url: str
    cloud_key: str
    price: Price
    ttft_s: float
    folder: Path
    promise_share: float
    litellm: Path | None = None
    core: int | None = None


@dataclass(frozen=True, slots=True)
class Door:
    """Where a contender is asked. `metrics_url` only where it says how well it foretells."""

    url: str
    key: str | None = None
    metrics_url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def opened(contender: Contender, ground: Ground) -> Iterator[Door]:
    """It runs while the block does. Raises ValueError when it does not start."""
    kinds = {Policy.LITELLM: _litellm, Policy.THRESHOLD: _threshold, Policy.SPILLWAY: _spillway}
    with kinds[contender.policy](contender.most or 0, ground) as door:
        yield door


@contextmanager
def _threshold(most: int, ground: Ground) -> Iterator[Door]:
    home = ["--home", ground.engine_url, MODEL, "none"]
    cloud = ["--cloud", ground.cloud_url, CLOUD_MODEL, ground.cloud_key]
    words = ["benchmarks.rivals.threshold", "--most", f"{most}", *home, *cloud]
    with process(*words, core=ground.core) as url:
        yield Door(url)


@contextmanager
def _litellm(most: int, ground: Ground) -> Iterator[Door]:
    if ground.litellm is None:
        raise ValueError("LiteLLM's proxy is no part of Spillway: name the program of its environment by --litellm")
    key = new_key()
    config = ground.folder / "litellm.json"
    # JSON is YAML.
    config.write_text(json.dumps(litellm_config(most, ground, key)), encoding="utf-8")
    port = free_port()
    url = f"http://{HOST}:{port}"
    words = [str(ground.litellm), "--config", str(config), "--host", HOST, "--port", f"{port}", "--telemetry", "False"]
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    # A model that says the same piece a hundred times is stopped with an error, and ours says nothing else.
    environment["REPEATED_STREAMING_CHUNK_LIMIT"] = "1000000"
    with serving(words, f"{url}/health/liveliness", ground.folder / "litellm.log", environment, ground.core):
        yield Door(url, key)


def litellm_config(most: int, ground: Ground, key: str) -> Mapping[str, object]:
    """LiteLLM's proxy at its best for this, as its source has it (1.106, router.py, order-based fallbacks;
    client_initalization_utils.py, MaxParallelRequestsLimit): who finds every slot of the first deployment taken gets a
    429 inside the proxy at once, and that falls back to the next `order`. A 429 would else put the first deployment on
    a bench for seconds (`disable_cooldowns`).
    """
    home: dict[str, object] = {
        "model": f"hosted_vllm/{MODEL}",
        "api_base": f"{ground.engine_url}/v1",
        "api_key": "none",
    }
    home |= {"order": 1, "max_parallel_requests": most}
    cloud: dict[str, object] = {
        "model": f"openai/{CLOUD_MODEL}",
        "api_base": f"{ground.cloud_url}/v1",
        "api_key": ground.cloud_key,
    }
    cloud |= {"order": 2}
    return {
        "model_list": [{"model_name": MODEL, "litellm_params": each} for each in (home, cloud)],
        "router_settings": {"num_retries": 0, "enable_pre_call_checks": True, "disable_cooldowns": True},
        "general_settings": {"master_key": key},
    }


@contextmanager
def _spillway(_: int, ground: Ground) -> Iterator[Door]:
    """The whole of it, for it is the supervisor that asks the engine how it stands."""
    config, home, port = ground.folder / "stack.toml", ground.folder / "home", free_port()
    config.write_text(stack_text(ground, port), encoding="utf-8")
    home.mkdir(exist_ok=True)
    environment = {**os.environ, "SPILLWAY_HOME": str(home), KEY: ground.cloud_key}
    url = f"http://{HOST}:{port}"
    with on_core(ground.core):
        try:
            _spillway_verb(environment, ground.folder, "up", "--config", str(config))
            until_ready(url)
            yield Door(url, metrics_url=f"{url}/metrics")
        finally:
            _spillway_verb(environment, ground.folder, "down")


def _spillway_verb(environment: Mapping[str, str], folder: Path, *words: str) -> None:
    """Raises ValueError with what it said where it fails."""
    log = folder / "spillway.log"
    with log.open("w") as file:
        # In a session of its own: a Ctrl-C must not reach it, for it has to take down what it has started.
        done = subprocess.run(
            [Path(sys.executable).with_name("spillway"), *words],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            check=False,
        )
    if done.returncode:
        raise ValueError(f"`spillway {words[0]}` failed; it said: {log.read_text()[-2000:].strip()}")


def stack_text(ground: Ground, port: int) -> str:
    """The stack.toml: nothing in it but the engine, the promise, the cloud, and a budget that is no bound here."""
    price = ground.price
    return f"""
[endpoint]
port = {port}

[external.{MODEL}]
url = "{ground.engine_url}/v1"

[tiers.standard]
ttft_target_s = {ground.ttft_s}
promise_share = {ground.promise_share}
order = ["local", "cloud"]
may_spill = true

[tiers.{CLOUD_TIER}]
ttft_target_s = {ground.ttft_s}
promise_share = {ground.promise_share}
order = ["cloud", "local"]
may_spill = true

[clouds.stand-in]
model = "openai/{CLOUD_MODEL}"
serves = ["{MODEL}"]
base_url = "{ground.cloud_url}/v1"
key_env = "{KEY}"
input_usd_per_mtok = {price.input_usd_per_mtok}
output_usd_per_mtok = {price.output_usd_per_mtok}
context_tokens = 128000
capabilities = ["chat"]

[limits]
cloud_usd_per_day = 1000.0
"""
