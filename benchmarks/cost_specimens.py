"""Specimens for the figures of `python -m benchmarks cost`: a request, engines, rules, as plain as can be."""

from __future__ import annotations

import json
from collections.abc import Sequence

from engines.snapshot import EngineState, EngineView, HostView, Load, ModelView, Snapshot
from router.routing.passing import Money
from router.tables.read import parse_rules
from router.tables.rules import Rules

CONTEXT_TOKENS = 131_072
TEXT = ("chat", "completion", "tools")
MODEL = "llama-3.1-8b"
HEARD_AT_S = 100.0
NOW_S = 100.1
RICH = Money(left_usd=10.0)
SENTENCE = "The river rose in the night, and by the morning the lower road was closed to carts. "
# As a client library sends them, and two hints of ours.
HEADERS = {
    "host": "127.0.0.1:4000",
    "accept": "application/json",
    "accept-encoding": "gzip, deflate",
    "connection": "keep-alive",
    "content-type": "application/json",
    "user-agent": "OpenAI/Python 2.0.0",
    "authorization": "Bearer sk-0123456789abcdef0123456789abcdef",
    "x-spillway-tier": "standard",
    "x-spillway-feature": "search",
}


def specimen_rules() -> Rules:
    """One tier that prefers engines, so patient that every case ends alike."""
    return parse_rules({"tiers": {"standard": {"ttft_target_s": 600.0, "order": ["local", "cloud"]}}}, "cost")


def snapshot(models: Sequence[str]) -> Snapshot:
    """An engine for each of these models, which may be named more than once."""
    engines = tuple(_engine(number, model) for number, model in enumerate(models))
    locked = tuple(ModelView(model, CONTEXT_TOKENS, TEXT, None) for model in dict.fromkeys(models))
    return Snapshot(1, 1, engines, locked, (), HostView(0, 0))


def _engine(number: int, model: str) -> EngineView:
    """With room for all that is sent to it."""
    load = Load(10, 0, 0.2, 100_000_000, 0, 0, 0, 0.1)
    name, url = f"engine-{number}", f"http://127.0.0.1:{8000 + number}"
    return EngineView(name, model, "vllm", EngineState.READY, url, "0", CONTEXT_TOKENS, 1, 1.0, 0, None, load)


def chat_body(size_bytes: int, model: str, *, stream: bool = False) -> bytes:
    """A chat of about this many bytes, compact as client libraries write it."""
    text = (SENTENCE * (size_bytes // len(SENTENCE) + 1))[: max(0, size_bytes - 170)]
    messages = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": text}]
    body = {"model": model, "messages": messages, "max_tokens": 128, "temperature": 0.7, "stream": stream}
    return json.dumps(body, separators=(",", ":")).encode()
