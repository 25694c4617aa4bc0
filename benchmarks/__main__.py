"""`python -m benchmarks VERB`: everything that measures the stack from outside, or stands in for what it talks to."""

from __future__ import annotations

import argparse
import signal
import sys
from importlib import import_module
from types import MappingProxyType, ModuleType

# What `--help` says of each. A verb's module is loaded only when it is asked for: pictures alone take a second.
VERBS = MappingProxyType(
    {
        "abort": "how soon a client that leaves frees its engine",
        "affinity": "what a strategy does to the engines' prefix caches",
        "bench": "three minutes on what runs here: tokens/s, latencies, the highest load that keeps the promise",
        "breaker": "a cloud that fails: the traffic it gets, its breaker, how it comes back",
        "burst": "a burst of agents against a provider that allows few requests: no 429 may reach a client",
        "cloud": "serve a stand-in cloud that speaks OpenAI and misbehaves on request",
        "compare": "two reports: is the second better or worse, and is that more than chance?",
        "cost": "what the router's pure parts cost in CPU",
        "demo": "watch the spill on a small engine of our own",
        "engine": "serve a fake engine that misbehaves on request",
        "faults": "each fault of a GPU server: who noticed, who answered, what was left behind",
        "hybrid": "one load local only, all cloud and hybrid; --rivals: at other routers too: promise kept, dollars",
        "latency": "what the router adds to an engine's latency",
        "lengths": "how well the lengths of answers are foretold, trace by trace",
        "load": "send one load to an endpoint and report what it met",
        "outage": "one load while engine and cloud fail at given times",
        "preset": "how soon a preset that is switched counts, while requests come",
        "provider": "the outage of a provider under load: what clients met, and how much later",
        "pump": "the load generator of `relay`, as a process",
        "relay": "wire speed of a router: tokens/s, CPU a token, added latency",
        "replay": "one trace at one endpoint",
        "report": "tables, page and pictures of a report, ours or another tool's",
        "simulate": "what it costs to keep a promise: engines, a cloud and rules in reckoned time",
        "soak": "a million requests: what stays behind in a router",
        "spill": "what the router's rule pays and keeps: every trace of a folder, several loads, in reckoned time",
        "stub": "serve an engine that is faster than any router",
        "sweep": "the highest load that keeps a promise",
        "tokens": "how far the estimate of a prompt's tokens is off, by kind of text",
        "tune": "engine settings compared by the load that each keeps the promise for",
        "whatif": "your own requests with more engines, or a longer promise: what would it have cost?",
    }
)

# As a shell says it.
INTERRUPTED = 130
# Where a verb's name is that of a package.
ELSEWHERE = MappingProxyType({"faults": "night.verb", "report": "report.verb"})


def main(arguments: list[str] | None = None) -> int:
    """Run one verb. Bad input is one sentence on stderr and status 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    asked = next((word for word in arguments if not word.startswith("-")), None)
    modules: dict[str, ModuleType] = {}
    for name, help_ in VERBS.items():
        verb = verbs.add_parser(name, help=help_)
        if name == asked:
            modules[name] = import_module(f"benchmarks.{ELSEWHERE.get(name, name)}")
            verb.description = modules[name].__doc__
            modules[name].add_arguments(verb)
    options = parser.parse_args(arguments)
    if options.verb is None:
        parser.print_help()
        return 0
    try:
        return int(modules[options.verb].main(options))
    except KeyboardInterrupt:
        print(f"benchmarks {options.verb}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError) as error:
        print(f"benchmarks {options.verb}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    # Who is told to end ends what it has started, as at an interrupt; a verb may know better.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    sys.exit(main())
