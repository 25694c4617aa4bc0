"""Measure the stack that is up: finds its engine through the router and hands over to `latency`.

It must not know how latency is measured.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import latency
from benchmarks.demo_stack import fetched
from benchmarks.stream import session

HELP = "measure the running stack: what the router adds to its engine's latency"


def first_ready(status: Mapping[str, Any]) -> tuple[str, str]:
    """URL and model of the first engine that is ready. Raises ValueError when none is."""
    for engine in status.get("engines", ()):
        if engine.get("state") == "ready":
            return str(engine["url"]), str(engine["model"])
    raise ValueError("no engine is ready: see `spillway status`, and `spillway logs` for the reason")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("--router", default="http://127.0.0.1:4000", metavar="URL", help="(%(default)s)")
    parser.add_argument("--connections", default="1,64", help="numbers separated by commas (%(default)s)")
    parser.add_argument("--requests", type=int, default=200, help="at least, for each side of each case (%(default)s)")
    parser.add_argument("--key", help="API key, where the router wants one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")


def main(options: argparse.Namespace) -> int:
    """Print the table. Raises ValueError with a sentence when nothing can be measured."""
    root = options.router.rstrip("/").removesuffix("/v1")
    status = asyncio.run(_status(root, options.key))
    if not status:
        raise ValueError(f"nothing answers at {root}/spillway/status: start the stack with `make up`, or name --router")
    options.direct, options.model = first_ready(status)
    return latency.main(options)


async def _status(root: str, key: str | None) -> Mapping[str, Any]:
    async with session(1, key, limit_s=5.0) as client:
        return await fetched(client, f"{root}/spillway/status")
