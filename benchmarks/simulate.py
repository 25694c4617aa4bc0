"""What would it cost to keep a promise? A trace on simulated engines with a cloud, under rules beside each other.

Nothing is measured and nothing is asked: time is reckoned, and the router's own decisions are made in it. A rate below
the trace's own thins it, one above lays it over itself; bursts stay as short as they were. With --load L the rate is L
times the highest at which the engines alone keep the promise. Status 1 where no policy keeps it.

    python -m benchmarks simulate --trace conv.csv.gz --load 3.0 --policy local --policy count=24 --policy predicted
    python -m benchmarks simulate --trace conv.csv.gz --rate 4.92 --policy count --policy thresholds --best
    python -m benchmarks simulate --trace conv.csv.gz --load 1.8 --policy sluice --plot episode.png
    python -m benchmarks simulate --validate calibration
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from rich.console import Console

from benchmarks.report.quantity import counted, number, seconds
from benchmarks.simulator import bound, hindsight
from benchmarks.simulator.arrival import arrivals_in, rate_of, span_s
from benchmarks.simulator.capacity import highest
from benchmarks.simulator.cloud_times import cloud_in
from benchmarks.simulator.episode import stretch_of, watched
from benchmarks.simulator.options import add_places, add_promise, engine_in, promise_in
from benchmarks.simulator.outcome import Outcome
from benchmarks.simulator.policies.named import FAMILIES, Named, named_in
from benchmarks.simulator.scaling import Scaling
from benchmarks.simulator.setting import Setting
from benchmarks.simulator.table import bound_line, floored, outcomes_table, promise_line, title_line
from benchmarks.simulator.trial import local_keeps, outcome
from benchmarks.simulator.tuning import tuned
from benchmarks.simulator.validation import rows_table, validated
from benchmarks.workload.trace import Sampling, TraceKind

KEPT, BROKEN = 0, 1
# Of what is not a terminal.
WIDTH = 100
STDOUT = Path("-")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    _add_trace(parser)
    _add_engines(parser)
    add_places(parser)
    add_promise(parser)
    _add_picture(parser)
    policies = ", ".join(f"{name}={each.form}" if each.form else name for name, each in FAMILIES.items())
    add = parser.add_argument_group("policies").add_argument
    add("--policy", action="append", metavar="NAME", help=f"several times, side by side: {policies}")
    add("--best", action="store_true", help="find the settings of each policy with the lowest bill, promise kept")
    add("--hindsight", action="store_true", help="and the best found by one who knows the whole trace (slow)")
    add("--bound", action="store_true", help="and a bill that no rule can be below that keeps the promise")
    add("--json", type=Path, nargs="?", const=STDOUT, metavar="FILE", help="figures as JSON, there or on stdout")


def _add_trace(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("trace").add_argument
    add("--trace", type=Path, metavar="FILE", help="arrivals and lengths of .csv or .jsonl (.gz too)")
    add("--trace-kind", choices=[*TraceKind], default="auto", help="whose columns (default: found out)")
    add("--rate", type=float, help="requests a second (default: the trace's own)")
    add("--load", type=float, help="times the highest rate at which the engines alone keep the promise")
    add("--stretch", action="store_true", help="make the rate by stretching time, bursts included")
    add("--hours", type=float, help="of the trace, only so much from its beginning")
    add("--sessions-per-h", type=float, default=60.0, help="how many sessions of an agentic trace begin (default 60)")
    add("--seed", type=int, default=0, help="of the cloud's times and of thinning (default 0)")


def _add_engines(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("engines").add_argument
    add("--engines", type=int, default=1, metavar="N", help="how many (default 1)")
    add(
        "--validate", type=Path, metavar="FOLDER", help="only this: how far the engines are off the runs recorded there"
    )


def _add_picture(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("picture").add_argument
    add("--plot", type=Path, metavar="FILE", help="a PNG of what happens where the trace is busiest, of one policy")
    add("--plot-from", type=float, metavar="S", help="begin it so many seconds into the trace")
    add("--plot-seconds", type=float, metavar="S", help="how much of it is shown (default: about 400 requests)")


def main(options: argparse.Namespace) -> int:
    """Raises ValueError with a sentence where there is nothing to simulate, OSError where there is no such file."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    notes = Console(stderr=True, highlight=False)
    if options.validate is not None:
        console.print(rows_table(validated(options.validate)))
        return KEPT
    policies = [named_in(text) for text in options.policy or (("sluice",) if options.plot else ("local", "cloud"))]
    _check_picture(options)
    setting, title = _scaled(options, setting_in(options), notes)
    found = _found(options, setting, policies, notes)
    least_usd = None
    if options.bound:
        with notes.status("a bill that no rule can be below"):
            least_usd = bound.least_usd(setting)
    document = json.dumps(_document(title, setting, found, least_usd), indent=1)
    if options.json == STDOUT:
        print(document)
        return _status(found)
    console.print(title_line(title), outcomes_table(found, setting.promise), promise_line(setting.promise), sep="\n")
    if least_usd is not None:
        console.print(bound_line(least_usd, found[0].all_cloud_usd))
    if options.json is not None:
        options.json.write_text(document + "\n")
        console.print(f"written: {options.json}", markup=False, soft_wrap=True)
    return _status(found)


def _found(options: argparse.Namespace, setting: Setting, policies: Sequence[Named], notes: Console) -> list[Outcome]:
    """One policy after the other; each meets the same requests and the same cloud. The first is drawn."""
    found = list[Outcome]()
    for policy in policies:
        with notes.status(f"{policy}: {counted(len(setting.arrivals), 'request')}"):
            best = tuned(setting, policy) if options.best else policy
            is_drawn = options.plot is not None and not found
            found.append(_drawn(options, setting, best) if is_drawn else outcome(setting, best))
    if options.hindsight:
        with notes.status("the best that can be found by one who knows the whole trace"):
            found.append(hindsight.outcome(setting))
    return found


def _drawn(options: argparse.Namespace, setting: Setting, policy: Named) -> Outcome:
    """The outcome of the whole trace; a stretch of it as a picture."""
    stretch = stretch_of(setting, options.plot_from, options.plot_seconds)
    run, episode = watched(setting, policy, stretch)
    rate = number(rate_of(setting.arrivals))
    name, _, _ = options.trace.name.partition(".")
    title = f"{name}, {rate} requests/s on {counted(setting.engines, 'engine')}, policy {policy}"
    beneath = (
        f"promise kept for {floored(episode.kept_share)} % in this picture; in the whole trace for "
        f"{floored(run.kept_share)} %, at {100 * run.bill_share:.1f} % of the price of all cloud"
    )
    import_module("benchmarks.simulator.episode_plot").draw(episode, title, beneath, options.plot)
    return run


def _check_picture(options: argparse.Namespace) -> None:
    """Before anything is simulated, which may take minutes."""
    if options.plot is None:
        if options.plot_from is not None or options.plot_seconds is not None:
            raise ValueError("--plot-from and --plot-seconds are of a picture; name it with --plot FILE.png")
        return
    if options.plot.suffix != ".png":
        raise ValueError(f"--plot {options.plot}: the picture is a PNG; let its name end in .png")
    if not options.plot.parent.is_dir():
        raise ValueError(f"--plot {options.plot}: there is no folder {options.plot.parent}; make it first")


def _status(found: Sequence[Outcome]) -> int:
    return KEPT if any(each.is_kept for each in found) else BROKEN


def _document(title: str, setting: Setting, found: Sequence[Outcome], least_usd: float | None) -> dict[str, object]:
    """What was simulated, and what came of it under each policy."""
    return {
        "title": title,
        "requests_per_s": rate_of(setting.arrivals),
        "engines": setting.engines,
        "speed": setting.engine.steps.source,
        "kv_tokens": setting.engine.kv_tokens,
        "max_batched_tokens": setting.engine.max_batched_tokens,
        "max_sequences": setting.engine.max_sequences,
        "prefix_cache": setting.engine.prefix_cache,
        "cloud": asdict(setting.cloud),
        "promise": asdict(setting.promise),
        "seed": setting.seed,
        "least_usd": least_usd,
        "policies": [each.document() for each in found],
    }


def setting_in(options: argparse.Namespace) -> Setting:
    """What was asked for, at the trace's own rate. Raises ValueError with a sentence, OSError on no file."""
    if options.trace is None:
        raise ValueError("there is nothing to simulate; name a --trace FILE")
    if options.rate is not None and options.load is not None:
        raise ValueError("--rate and --load both say how much comes; give one of them")
    if options.engines < 1:
        raise ValueError(f"--engines {options.engines}: there must be one at least")
    sampling = Sampling(sessions_per_h=options.sessions_per_h, seed=options.seed)
    limit_s = options.hours * 3600 if options.hours else None
    return Setting(
        arrivals=arrivals_in(options.trace, TraceKind(options.trace_kind), sampling, limit_s),
        engine=engine_in(options),
        engines=options.engines,
        cloud=cloud_in(options.cloud),
        promise=promise_in(options),
        seed=options.seed,
    )


def _scaled(options: argparse.Namespace, setting: Setting, notes: Console) -> tuple[Setting, str]:
    """At the rate asked for, and a line that says what is simulated."""
    way = Scaling.STRETCH if options.stretch else Scaling.OVERLAY
    own, load = rate_of(setting.arrivals), ""
    rate = own if options.rate is None else options.rate
    if options.load is not None:
        with notes.status("the highest rate at which the engines alone keep the promise") as status:

            def keeps(tried: float) -> bool:
                status.update(f"do the engines alone keep the promise at {number(tried)} requests/s?")
                return local_keeps(setting.at_rate(tried, way))

            most = highest(keeps, own)
        rate, load = most * options.load, f" ({options.load:g} x {number(most)}, what the engines alone keep)"
    setting = setting if rate == own else setting.at_rate(rate, way)
    lasts = seconds(span_s(setting.arrivals))
    engines = counted(setting.engines, "engine")
    return setting, (
        f"{options.trace.name.partition('.')[0]}: {counted(len(setting.arrivals), 'request')} in {lasts}, "
        f"{number(rate)}/s{load}, {engines} {options.engine}"
    )
