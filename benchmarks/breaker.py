"""A provider has a bad hour: what share of the traffic it gets while it fails, and how it comes back.

The router's own Watch and policy decide each request of a steady load, in a time that is reckoned and not waited for;
the answers of two clouds are made up. It must not know how a breaker works: it sees what a client and `status` see.
"""

from __future__ import annotations

import argparse
import heapq
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.cost_specimens import HEADERS, chat_body
from engines.snapshot import HostView, Snapshot
from router.ask import Ask, Endpoint, read_ask
from router.routing.fleet import Target
from router.routing.passing import Money
from router.tables.read import parse_rules
from router.tables.rules import Rules
from router.watch import Usage, Watch

MODEL = "large"
ILL, WELL = "cloud/ill", "cloud/well"
FIRST_TOKEN_S, ANSWER_S, FAILURE_S = 0.3, 1.0, 0.05
# How long a request waits for a cloud that hangs: as [limits] first_token_s says, less if it tries one that failed.
HANG_S, TRIAL_S = 5.0, 2.0
USAGE = Usage(200, 60)
RICH = Money(1e6)
# Each request is drawn: the golden ratio's multiples, modulo 1, are even in any stretch of them.
GOLDEN = 0.6180339887498949
WIDTH = 120
MOST_RATE = 1000.0
LEAST_BIN_S, MOST_BIN_S = 0.05, 5.0


class Kind(StrEnum):
    """What a cloud that fails does with a request."""

    ERROR = "500"
    HANG = "hang"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Spell:
    """From `from_s` on this share of the requests fails so."""

    from_s: float
    share: float = 0.0
    kind: Kind = Kind.ERROR

    def __str__(self) -> str:
        return f"{self.share:.0%} {self.kind}" if self.share else "well"


SPELLS = (
    Spell(0.0),
    Spell(10.0, 0.3),
    Spell(25.0),
    Spell(35.0, 0.6),
    Spell(50.0, 1.0),
    Spell(90.0),
    Spell(115.0, 1.0, Kind.HANG),
    Spell(140.0),
    Spell(160.0, 1.0, Kind.CUT),
    Spell(175.0),
)
END_S = 195.0


@dataclass(slots=True)
class Bin:
    """What was seen in a stretch of time: `asked` requests went first to the ill cloud, of `requests` in all; `failed`
    of the `tried` there failed; `state` of the breaker at its end, `share` of the traffic that it allows."""

    from_s: float
    requests: int = 0
    asked: int = 0
    tried: int = 0
    failed: int = 0
    lost: int = 0
    state: str = "closed"
    share: float = 1.0


def rules() -> Rules:
    """Two clouds for one model, of which the one that will be ill is preferred."""
    cloud = {"model": "openai/made-up", "serves": [MODEL], "key_env": "KEY", "context_tokens": 128_000}
    price = {"input_usd_per_mtok": 0.1, "output_usd_per_mtok": 0.4, "capabilities": ["chat"]}
    tier = {"ttft_target_s": 2.0, "order": [ILL, WELL]}
    clouds = {name.removeprefix("cloud/"): cloud | price for name in (ILL, WELL)}
    return parse_rules({"tiers": {"standard": tier}, "clouds": clouds}, "the breaker's benchmark")


@dataclass(slots=True)
class Course:
    """One run; `at` says when what happens next. Only `run` moves the clock."""

    spells: Sequence[Spell]
    bins: list[Bin]
    bin_s: float
    watch: Watch = field(default_factory=lambda: Watch(rules(), environment={"KEY": "key"}, prices={}))
    at: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)
    numbers: count[int] = field(default_factory=count)

    def later(self, at_s: float, what: Callable[[float], None]) -> None:
        heapq.heappush(self.at, (at_s, next(self.numbers), what))

    def bin(self, now_s: float) -> Bin:
        return self.bins[min(int(now_s / self.bin_s), len(self.bins) - 1)]

    def arrive(self, ask: Ask, lot: float, now_s: float) -> None:
        """A request: as the router would, first to whom it prefers, and to the other one if that fails."""
        targets = self.watch.decide(ask, RICH, now_s).targets
        here = self.bin(now_s)
        here.requests += 1
        here.asked += targets[0].name == ILL
        self.send(ask, targets, lot, now_s)

    def send(self, ask: Ask, targets: Sequence[Target], lot: float, now_s: float) -> None:
        if not targets:
            self.bin(now_s).lost += 1
            return
        target, *others = targets
        spell = next(each for each in reversed(self.spells) if each.from_s <= now_s)
        fails = target.name == ILL and lot < spell.share
        flight = self.watch.start(ask, target, now_s)
        self.bin(now_s).tried += target.name == ILL

        def begins(then_s: float) -> None:
            self.watch.first_token(flight, then_s)

        def ends(then_s: float) -> None:
            self.watch.finish(flight, USAGE, then_s)

        def breaks(then_s: float) -> None:
            self.bin(now_s).failed += 1
            self.watch.finish(flight, None, then_s)
            self.watch.failed(flight, "first_token" if spell.kind is Kind.HANG else spell.kind, None, then_s)
            if spell.kind is Kind.CUT:
                self.bin(now_s).lost += 1
            else:
                self.send(ask, others, lot, then_s)

        if not fails:
            self.later(now_s + FIRST_TOKEN_S, begins)
            self.later(now_s + ANSWER_S, ends)
        elif spell.kind is Kind.CUT:
            self.later(now_s + FIRST_TOKEN_S, begins)
            self.later(now_s + ANSWER_S / 2, breaks)
        else:
            hang_s = HANG_S if target.health.cause is None else TRIAL_S
            self.later(now_s + (hang_s if spell.kind is Kind.HANG else FAILURE_S), breaks)


def run(spells: Sequence[Spell], end_s: float, rate: float, bin_s: float) -> Sequence[Bin]:
    """What was seen, bin by bin, at so many requests a second."""
    course = Course(spells, [Bin(number * bin_s) for number in range(int(end_s / bin_s))], bin_s)
    course.watch.heard(Snapshot(1, 1, (), (), (), HostView(0, 0)), 0.0)
    raw = chat_body(900, MODEL, stream=True)
    for number in range(int(end_s * rate)):
        ask = read_ask(raw, HEADERS | {"x-request-id": f"r{number}"}, Endpoint.CHAT, course.watch.rules)
        course.later(number / rate, partial(course.arrive, ask, (number * GOLDEN) % 1.0))
    for each in course.bins:
        course.later(each.from_s + bin_s, partial(_look, course.watch, each))
    while course.at and course.at[0][0] <= end_s:
        now_s, _, what = heapq.heappop(course.at)
        what(now_s)
    return course.bins


def _look(watch: Watch, here: Bin, now_s: float) -> None:
    ill = next(each for each in watch.view(now_s).targets if each.name == ILL)
    health = ill.health
    if health.cause is None:
        here.state, here.share = ("closed" if health.share >= 1 else "returning"), health.share
    else:
        # Who says nothing at all is passed over before its breaker has heard of a failure.
        is_open = watch.shut_s(ill, now_s) > 0 or health.cause == "silent"
        here.state, here.share = ("open" if is_open else "half-open"), 0.0


def rows(spells: Sequence[Spell], end_s: float, bins: Sequence[Bin]) -> list[dict[str, float | str]]:
    """One for each spell."""
    ends = [*(each.from_s for each in spells[1:]), end_s]
    made: list[dict[str, float | str]] = []
    for spell, until_s in zip(spells, ends, strict=True):
        within = [each for each in bins if spell.from_s <= each.from_s < until_s]
        requests, tried = sum(each.requests for each in within), sum(each.tried for each in within)
        row: dict[str, float | str] = {
            "spell": str(spell),
            "from_s": spell.from_s,
            "asked_share": sum(each.asked for each in within) / requests,
            "failed_share": sum(each.failed for each in within) / tried if tried else 0.0,
            "second_tries_share": sum(each.failed for each in within) / requests,
            "lost": sum(each.lost for each in within),
        }
        made.append(row)
    return made


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second (%(default)g)")
    parser.add_argument("--bin-s", type=float, default=0.5, help="length of a stretch of time (%(default)g)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")


def main(options: argparse.Namespace) -> int:
    """Print the table, and write what was asked for. Raises ValueError with a sentence."""
    if not 0 < options.rate <= MOST_RATE:
        raise ValueError(f"--rate {options.rate:g}: it is above 0 and at most {MOST_RATE:g} requests a second")
    if not LEAST_BIN_S <= options.bin_s <= MOST_BIN_S:
        raise ValueError(f"--bin-s {options.bin_s:g}: it is from {LEAST_BIN_S:g} to {MOST_BIN_S:g} seconds")
    bins = run(SPELLS, END_S, options.rate, options.bin_s)
    found = rows(SPELLS, END_S, bins)
    Console(width=WIDTH, highlight=False).print(table(found))
    if options.json is not None:
        options.json.write_text(json.dumps({"spells": found, "bins": [asdict(each) for each in bins]}, indent=1))
    if options.plot is not None:
        import_module("benchmarks.breaker_plot").draw(SPELLS, END_S, bins, options.plot)
        print(f"written: {options.plot}")
    return 0


def table(found: Sequence[dict[str, float | str]]) -> Table:
    """For a terminal."""
    made = Table(box=SIMPLE_HEAD, title="A cloud that fails, in front of one that does not", title_justify="left")
    made.add_column("it is")
    for name in ("from", "asked first", "of these failed", "second tries", "streams lost"):
        made.add_column(name, justify="right")
    for row in found:
        shares = [f"{row[name]:.1%}" for name in ("asked_share", "failed_share", "second_tries_share")]
        made.add_row(str(row["spell"]), f"{row['from_s']:.0f} s", *shares, f"{row['lost']}")
    return made
