"""What each decision among many targets costs by itself: how long the usual one takes, and how long the slowest.

Between two decisions a request is sent and another one ends, as in traffic, so what the router keeps of its targets
changes all the time. CPU time of the thread, because what else runs on the machine is not the decision's doing.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from benchmarks.cost_specimens import HEADERS, HEARD_AT_S, NOW_S, RICH, chat_body, snapshot
from benchmarks.quantiles import quantile
from router.ask import Ask, Endpoint, read_ask
from router.tables.read import parse_rules
from router.tables.rules import Rules
from router.watch import Flight, Usage, Watch

TARGETS = 200
MODELS = 20
IN_FLIGHT = 1000
BODY_BYTES = 900
STRATEGY = {"least_busy": 1.0, "least_latency": 0.5, "affinity": 0.5}
# As the router's process has it (`router.serve`).
COLLECT_EACH = (50_000, 20, 100)
# Not counted: until the interpreter has seen the code often enough.
WARM_UP = 200


def decisions(count: int) -> Iterator[tuple[str, str, float]]:
    """(part, case, microseconds), two lines for each case."""
    before = gc.get_threshold()
    gc.set_threshold(*COLLECT_EACH)
    try:
        for case, watch, read in _cases():
            taken_us = list(_each(watch, read, count))
            for name, share in ("p50", 0.5), ("p99", 0.99):
                yield f"decide among {TARGETS}, {name}", case, quantile(taken_us, share)
    finally:
        gc.set_threshold(*before)


def _cases() -> Iterator[tuple[str, Watch, Ask]]:
    for case, models, asked, strategy in (
        ("20 models, one asked for", MODELS, "m0", {}),
        ("one model", 1, "m0", {}),
        ("any model will do", MODELS, "auto", {}),
        ("one model, three strategies", 1, "m0", STRATEGY),
    ):
        rules = _rules(models, strategy)
        watch = Watch(rules, environment={"KEY": "a key"}, prices={})
        watch.heard(snapshot([f"m{number % models}" for number in range(TARGETS // 2)]), HEARD_AT_S)
        yield case, watch, read_ask(chat_body(BODY_BYTES, asked, stream=True), HEADERS, Endpoint.CHAT, rules)


def _rules(models: int, strategy: dict[str, float]) -> Rules:
    """Half of the targets are clouds. Each model has two that stand in for it."""
    tier = {"ttft_target_s": 600.0, "order": ["local", "cloud"], "strategy": strategy}
    cloud = {"key_env": "KEY", "input_usd_per_mtok": 0.1, "output_usd_per_mtok": 0.4, "context_tokens": 131_072}
    names = [f"m{number}" for number in range(models)]
    tables: dict[str, Any] = {
        "tiers": {"standard": tier},
        "clouds": {
            f"c{number}": cloud | {"model": f"openai/x{number}", "serves": [names[number % models]]}
            for number in range(TARGETS // 2)
        },
    }
    if models > 1:
        tables["chains"] = {names[0]: {"fallbacks": names[1:2], "emergency": names[2:3]}}
    return parse_rules(tables, "decisions")


def _each(watch: Watch, read: Ask, count: int) -> Iterator[float]:
    """Microseconds of each decision, with so many requests in flight that every other one waits for its first token."""
    flying: deque[Flight] = deque()
    for number in range(IN_FLIGHT + WARM_UP + count):
        began_ns = time.thread_time_ns()
        decision = watch.decide(read, RICH, NOW_S)
        taken_ns = time.thread_time_ns() - began_ns
        flying.append(watch.start(read, decision.targets[0], NOW_S))
        if number % 2:
            watch.first_token(flying[-1], NOW_S)
        if len(flying) > IN_FLIGHT:
            watch.finish(flying.popleft(), Usage(200, 100), NOW_S)
        if number >= IN_FLIGHT + WARM_UP:
            yield taken_ns / 1e3
