"""What the pure parts of the router cost in CPU time for each request: reading it, choosing a target, counting it.

Nothing is sent anywhere. A decision must cost the same however much is in flight, so both are varied.
"""

from __future__ import annotations

import argparse
import json
import time
import timeit
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

from engines.snapshot import EngineState, EngineView, HostView, Load, ModelView, Snapshot
from router.ask import Ask, Endpoint, read_ask
from router.forward import engine_body
from router.routing.policy import Money
from router.tables.read import parse_rules
from router.tables.rules import Rules
from router.watch import Usage, Watch

MODEL = "llama-3.1-8b"
TARGETS = (1, 4, 16)
IN_FLIGHT = (1, 64, 1000)
BODY_BYTES = (900, 100_000)
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


class Cost(NamedTuple):
    """One line of the table."""

    part: str
    case: str
    microseconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("--seconds", type=float, default=0.1, help="how long one count takes (%(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="the best of so many counts (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")


def main(options: argparse.Namespace) -> int:
    """Print the table, a line as soon as it is known."""
    costs = []
    for part, case, work in cases():
        costs.append(Cost(part, case, measured(work, options.repeats, options.seconds)))
        print(f"{part:<28} {case:<28} {costs[-1].microseconds:>9.2f} us", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps([cost._asdict() for cost in costs], indent=1))
    return 0


def measured(work: Callable[[], object], repeats: int, seconds: float = 0.1) -> float:
    """CPU microseconds of one call, the best of several counts: whatever disturbs makes it slower, never faster."""
    timer = timeit.Timer(work, timer=time.process_time)
    calls = 1
    while (taken_s := timer.timeit(calls)) < seconds / 4:
        calls *= 4
    calls = max(1, round(calls * seconds / taken_s))
    return min(timer.repeat(repeats, calls)) / calls * 1e6


def cases() -> Iterator[tuple[str, str, Callable[[], object]]]:
    """Each part with its case and a call that does it once."""
    rules = specimen_rules()
    for size in BODY_BYTES:
        raw = chat_body(size, "auto")
        yield "read_ask", f"{len(raw)} bytes", partial(read_ask, raw, HEADERS, Endpoint.CHAT, rules)
    for size in BODY_BYTES:
        for what, model in ("as it came", MODEL), ("another model name", "auto"):
            read = read_ask(chat_body(size, model), HEADERS, Endpoint.CHAT, rules)
            yield "engine_body", f"{len(read.raw)} bytes, {what}", partial(engine_body, read, MODEL)
    whole, streamed = (
        read_ask(chat_body(BODY_BYTES[0], "auto", stream=stream), HEADERS, Endpoint.CHAT, rules)
        for stream in (False, True)
    )
    parts = (("decide", deciding, whole), ("count, whole answer", flying, whole), ("count, stream", flying, streamed))
    for part, prepare, read in parts:
        for targets in TARGETS:
            for in_flight in IN_FLIGHT:
                watch = busy_watch(rules, streamed, targets, in_flight)
                yield part, f"{targets} targets, {in_flight} in flight", prepare(watch, read)


def deciding(watch: Watch, read: Ask) -> Callable[[], object]:
    """A decision. The Watch keeps nothing of one for the next, so that doing it again and again is a fair measure."""
    return lambda: watch.decide(read, RICH, NOW_S)


def flying(watch: Watch, read: Ask) -> Callable[[], object]:
    """A whole flight: start, first token, finish."""
    target, usage = watch.view(NOW_S).targets[0], Usage(200, 100)

    def fly() -> None:
        flight = watch.start(read, target, NOW_S)
        watch.first_token(flight, NOW_S)
        watch.finish(flight, usage, NOW_S)

    return fly


def busy_watch(rules: Rules, streamed: Ask, targets: int, in_flight: int) -> Watch:
    """A Watch with this many engines and streams; every other stream still waits for its first token."""
    watch = Watch(rules)
    watch.heard(Snapshot(1, 1, tuple(map(engine, range(targets))), (LOCKED,), (), HostView(0, 0)), HEARD_AT_S)
    for number, target in enumerate(islice(cycle(watch.view(NOW_S).targets), in_flight)):
        flight = watch.start(streamed, target, NOW_S)
        if number % 2:
            watch.first_token(flight, NOW_S)
    return watch


def specimen_rules() -> Rules:
    """One tier that prefers engines, so patient that every case ends alike."""
    return parse_rules({"tiers": {"standard": {"ttft_target_s": 600.0, "order": ["local", "cloud"]}}}, "cost")


LOCKED = ModelView(MODEL, 131_072, ("chat", "completion", "tools"), None)


def engine(number: int) -> EngineView:
    """An engine with room for all that is sent to it."""
    load = Load(10, 0, 0.2, 100_000_000, 0, 0, 0, 0.1)
    name, state = f"engine-{number}", EngineState.READY
    return EngineView(
        name, MODEL, "vllm", state, f"http://127.0.0.1:{8000 + number}", "0", 131_072, 1, 1.0, 0, None, load
    )


def chat_body(size_bytes: int, model: str, *, stream: bool = False) -> bytes:
    """A chat of about this many bytes, compact as client libraries write it."""
    text = (SENTENCE * (size_bytes // len(SENTENCE) + 1))[: max(0, size_bytes - 170)]
    messages = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": text}]
    body = {"model": model, "messages": messages, "max_tokens": 128, "temperature": 0.7, "stream": stream}
    return json.dumps(body, separators=(",", ":")).encode()
