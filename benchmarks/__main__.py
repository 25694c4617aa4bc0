"""`python -m benchmarks VERB`: everything that measures the stack from outside, or stands in for what it talks to."""

from __future__ import annotations

import argparse
import sys
from types import MappingProxyType, ModuleType

from benchmarks import abort, bench, cloud, cost, demo, engine, latency, load, pump, relay, soak, stub

VERBS = MappingProxyType[str, ModuleType](
    {
        "abort": abort,
        "bench": bench,
        "cloud": cloud,
        "cost": cost,
        "demo": demo,
        "engine": engine,
        "latency": latency,
        "load": load,
        "pump": pump,
        "relay": relay,
        "soak": soak,
        "stub": stub,
    }
)


def main(arguments: list[str] | None = None) -> int:
    """Run one verb. Bad input is one sentence on stderr and status 2."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for name, module in VERBS.items():
        module.add_arguments(verbs.add_parser(name, help=module.HELP, description=module.__doc__))
    options = parser.parse_args(arguments)
    if options.verb is None:
        parser.print_help()
        return 0
    try:
        return int(VERBS[options.verb].main(options))
    except (ValueError, OSError) as error:
        print(f"benchmarks {options.verb}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
