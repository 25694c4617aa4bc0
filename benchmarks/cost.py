"""What the pure parts of the router cost in CPU time for each request: reading it, choosing a target, counting it.

Nothing is sent anywhere. A decision must cost the same however much is in flight, so both are varied. Among MANY
targets each decision is measured by itself, because the slowest of them are what counts there; and so is each placing
before many engines, where others wait.
"""

from __future__ import annotations

import argparse
import json
import time
import timeit
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, cycle, islice
from pathlib import Path
from typing import NamedTuple

from benchmarks.cost_specimens import HEADERS, HEARD_AT_S, MODEL, NOW_S, RICH, chat_body, snapshot, specimen_rules
from benchmarks.decisions import decisions
from benchmarks.placing import placings
from router.ask import Ask, Endpoint, read_ask
from router.forward import engine_body
from router.tables.rules import Rules
from router.watch import Usage, Watch

TARGETS = (1, 4, 16)
IN_FLIGHT = (1, 64, 1000)
BODY_BYTES = (900, 100_000)


class Cost(NamedTuple):
    """One line of the table."""

    part: str
    case: str
    microseconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("--seconds", type=float, default=0.1, help="how long one count takes (%(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="the best of so many counts (%(default)s)")
    parser.add_argument("--decisions", type=int, default=2000, help="so many each by itself, of many (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")


def main(options: argparse.Namespace) -> int:
    """Print the table, a line as soon as it is known."""
    costs = []
    each = chain(decisions(options.decisions), placings(options.decisions))
    for cost in chain(counted(options.repeats, options.seconds), map(Cost._make, each)):
        costs.append(cost)
        print(f"{cost.part:<28} {cost.case:<34} {cost.microseconds:>9.2f} us", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps([cost._asdict() for cost in costs], indent=1))
    return 0


def counted(repeats: int, seconds: float) -> Iterator[Cost]:
    """The lines of what is done again and again and counted together."""
    for part, case, work in cases():
        yield Cost(part, case, measured(work, repeats, seconds))


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
    watch.heard(snapshot([MODEL] * targets), HEARD_AT_S)
    for number, target in enumerate(islice(cycle(watch.view(NOW_S).targets), in_flight)):
        flight = watch.start(streamed, target, NOW_S)
        if number % 2:
            watch.first_token(flight, NOW_S)
    return watch
