"""Where a request would go and why, and who is asked next on each failure. Nothing is sent.

The running router is asked, with its load and its budget of now. Where none runs that reads this file, all engines that
it names are taken to be ready and idle.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from ground.prices import PRICES
from router.because import Moment
from router.costs import ENDLESS
from router.explain import Explanation, explain
from router.gaps import gaps
from router.measuring import measured_for
from router.question import Question, ask_of, count_of
from router.verbs.explained import shown
from router.verbs.given import FAILED, Given, VerbError, given, options
from router.verbs.running import Running, another, running_at


def run(arguments: Sequence[str]) -> int:
    asked = _parser().parse_args(arguments)
    known = given(asked)
    question = Question(asked.task, asked.tier, asked.model, asked.privacy, asked.tokens, _body(asked.file))
    running = running_at(asked.router, known.rules.endpoint)
    found = _of_now(running, question, None if asked.router else known.path) or _assumed(known, question)
    if found.assumed:
        _warn_of_gaps(known)
    if asked.json:
        print(json.dumps(msgspec.to_builtins(found)))
    else:
        known.console.print(shown(found))
    return 0 if found.target else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = options("route", __doc__)
    parser.add_argument("--task", metavar="NAME", help="of [tasks.*]")
    parser.add_argument("--tier", metavar="NAME", help="of [tiers.*]")
    parser.add_argument("--model", metavar="NAME", help="as an application would name it")
    parser.add_argument("--tokens", type=_count, metavar="N", help="how long to take the prompt for")
    parser.add_argument("--privacy", choices=["any", "local-only"])
    parser.add_argument("--file", type=Path, metavar="JSON", help="the body of a request")
    parser.add_argument("--router", metavar="HOST:PORT", help="ask the router there, whatever file it reads")
    parser.add_argument("--json", action="store_true", help="all of it as JSON")
    return parser


def _count(text: str) -> int:
    try:
        return count_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _body(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise VerbError(f"--file {path}: cannot be read ({error.strerror})") from error


def _of_now(running: Running, question: Question, path: Path | None) -> Explanation | None:
    """What the router says; None where none runs, or none that reads the file of this path. Raises VerbError."""
    if path is not None:
        status = running.status()
        if status is None or another(status, path) is not None:
            return None
    said = running.route(question.raw(), question.headers(), question.tokens)
    if said is None and path is None:
        raise VerbError(f"no router answers at {running.host}:{running.port}")
    try:
        return None if said is None else msgspec.convert(said, Explanation)
    except msgspec.ValidationError as error:
        raise VerbError(f"{running.host}:{running.port} answers otherwise than this Spillway does: {error}") from error


def _assumed(known: Given, question: Question) -> Explanation:
    """Raises ApiError as the request itself would."""
    fleet = known.fleet()
    ask = asyncio.run(measured_for(fleet.targets, ask_of(question, known.rules, time.time()), {}, _uncounted))
    return replace(explain(ask, fleet, known.rules, Moment(ENDLESS)), assumed=True)


def _warn_of_gaps(known: Given) -> None:
    """Apart from the answer, which a program may read. A router that starts with this file may have engines by URL."""
    for hole in gaps(known.rules, known.models, PRICES, os.environ):
        print(f"a router would refuse this file: {hole}", file=sys.stderr)


async def _uncounted(_path: str, _text: str) -> None:
    """No tokenizer is asked: only the router that runs has them at hand."""
