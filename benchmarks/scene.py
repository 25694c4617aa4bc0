"""What the runs of one verb have in common: the endpoint and what is behind it, the promise, the prices.

Asked and checked once, before anything is measured, so that a wrong address or an impossible promise is a sentence.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.drive.drive import drive
from benchmarks.drive.endpoint import LIMIT_S, Endpoint, endpoint_of
from benchmarks.drive.pacing import Closed
from benchmarks.drive.probe import Server, probe
from benchmarks.figures import dollars
from benchmarks.figures.dollars import Prices, prices_in
from benchmarks.figures.places import Places, places_of
from benchmarks.figures.promise import Promise, promise_in
from benchmarks.figures.summary import why_barren
from benchmarks.workload.arrival import Kind
from benchmarks.workload.spec import Spec
from benchmarks.workload.workload import arrivals_of, tokenizer_of

URL = "http://127.0.0.1:4000"
# Engines that take `ignore_eos`; a cloud refuses what it does not know.
PINS_LENGTH = {"vllm", "spillway"}
# The first request may pay for what is compiled or loaded on first use.
TRIES_ALONE = 2


@dataclass(frozen=True, slots=True)
class Scene:
    """`server` is what answers at `endpoint`, `places` where its engines, its router and its GPUs can be watched.

    `began_unix_s` is when the verb looked there first.
    """

    endpoint: Endpoint
    server: Server
    places: Places
    promise: Promise | None
    prices: Prices
    began_unix_s: float

    @property
    def engine(self) -> dict[str, Any]:
        """What serves, for the report."""
        said = {"kind": self.server.engine, "version": self.server.version, "model": self.server.model}
        return {name: value for name, value in said.items() if value} | {"max_model_len": self.server.max_model_len}


def add_arguments(parser: argparse.ArgumentParser, promise: str | None = None) -> None:
    """Where, what was promised, and what it costs."""
    where = parser.add_argument_group("endpoint").add_argument
    where("--url", default=URL, help="any OpenAI-compatible address, with or without /v1 (%(default)s)")
    where("--model", help="name to ask for (the first that the endpoint lists)")
    where("--key-env", metavar="NAME", help="variable with the key that --url wants")
    where("--header", action="append", default=[], metavar="'NAME: VALUE'", help="sent with each request")
    where("--limit-s", type=float, default=LIMIT_S, help="a request that takes longer has failed (%(default)g)")
    text = "of each request, such as ttft_s=2,tpot_s=0.1,share=0.95" + (f" ({promise})" if promise else "")
    where("--promise", default=promise, metavar="LIMITS", help=text)
    dollars.add_arguments(parser)


async def scene_of(options: argparse.Namespace) -> Scene:
    """Ask what is there. Raises ValueError with a sentence on bad options, and where nothing that fits answers."""
    promise = promise_in(options.promise) if options.promise else None
    key = key_in(options.key_env)
    headers = dict(_header(line) for line in options.header)
    server = await probe(options.url, options.model, key)
    places = await places_of(options.url)
    endpoint = endpoint_of(
        options.url,
        server.model,
        key=key,
        limit_s=options.limit_s,
        headers=headers,
        pins_length=server.engine in PINS_LENGTH,
    )
    return Scene(endpoint, server, places, promise, prices_in(options, places.cloud_price), time.time())


def key_in(name: str | None) -> str | None:
    """The key in that variable. Raises ValueError where there is none."""
    key = os.environ.get(name) if name else None
    if name and not key:
        raise ValueError(f"--key-env {name}: that variable is empty or not set")
    return key


def fitted(spec: Spec, scene: Scene) -> Spec:
    """The workload cut to what the server takes, and counted by its own tokenizer where that can be asked."""
    context_tokens = spec.context_tokens or scene.server.max_model_len or _context_tokens(scene.server.status)
    tokenizer, model = spec.tokenizer, scene.server.model
    if not tokenizer and scene.places.engines and _has_tokenizer(scene.places.engines[0], spec.kind):
        # A router has no tokenizer; its engine has, under the name that the engine gives the model.
        tokenizer, model = scene.places.engines[0], ""
    return replace(spec, context_tokens=context_tokens, tokenizer=tokenizer, model=model)


async def check_alone(scene: Scene, spec: Spec) -> None:
    """One request on its own. Raises ValueError where it fails, or breaks what is promised even then."""
    broken: list[str] = []
    for number in range(TRIES_ALONE):
        driven = await drive(scene.endpoint, arrivals_of(spec, run=-1 - number), Closed(1, requests=1))
        if (why := why_barren(driven.samples)) is not None:
            raise ValueError(f"one request alone, and {why}")
        broken = scene.promise.broken(driven.samples) if scene.promise else []
        if not broken:
            return
    raise ValueError(f"even one request alone breaks the promise ({'; '.join(broken)}): promise less, or ask for less")


def _has_tokenizer(engine: str, kind: Kind) -> bool:
    try:
        tokenizer = tokenizer_of(engine, "")
        return tokenizer is not None and tokenizer.counts(["word"], kind)[0] > 0
    except ValueError:
        return False


def _context_tokens(status: Mapping[str, Any]) -> int | None:
    targets: Iterable[Mapping[str, Any]] = status.get("targets", ())
    return min((each["context_tokens"] for each in targets if each.get("context_tokens")), default=None)


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise ValueError(f"--header {line!r} must be one line, such as 'X-Team: crew'")
    return name.strip(), value.strip()
