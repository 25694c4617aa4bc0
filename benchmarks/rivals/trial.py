"""Arrivals sent to one door, stretch by stretch, and what became of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import aiohttp

from benchmarks.drive.drive import drive
from benchmarks.drive.endpoint import Endpoint, endpoint_of
from benchmarks.drive.pacing import Open
from benchmarks.drive.sample import Sample
from benchmarks.figures.promise import Promise
from benchmarks.rivals.contender import CLOUD_TIER, Door
from benchmarks.rivals.engine import MODEL
from benchmarks.rivals.model import bias
from benchmarks.rivals.outcome import Till, judged
from benchmarks.workload.arrival import Arrival, Prompt

LIMIT_S = 120.0
# What is said first: to the cloud alone where tiers are known, then a crowd, so that each place has been asked once.
FIRST, CROWD, CROWD_TOKENS = 3, 24, 4


def endpoint(door: Door, most_tokens: int) -> Endpoint:
    """What every request says: `max_tokens` is the same for all, so that nobody learns an answer's length from it."""
    extra = {"temperature": 0, "logit_bias": dict(bias()), "max_tokens": most_tokens}
    more = {"key": door.key, "headers": door.headers, "extra": extra, "limit_s": LIMIT_S, "hides_length": True}
    return endpoint_of(door.url, MODEL, **more)


async def asked(place: Endpoint, stretches: Sequence[Sequence[Arrival]]) -> list[Sample]:
    """One after the other, each when all answers of the one before have ended."""
    samples: list[Sample] = []
    for stretch in stretches:
        samples += (await drive(place, iter(stretch), Open())).samples
    return [judged(each) for each in samples]


async def keeps(place: Endpoint, stretches: Sequence[Sequence[Arrival]], promise: Promise) -> bool:
    """Whether it is kept for as many as it says; ended as soon as it cannot be any more.

    One may always miss: a hundredth of fewer than a hundred would be nobody.
    """
    allowed = max(math.floor(sum(map(len, stretches)) * (1.0 - promise.share) + 1e-9), 1)
    missed = 0
    for stretch in stretches:
        stop = asyncio.Event()

        def count(sample: Sample, stop: asyncio.Event = stop) -> None:
            nonlocal missed
            missed += not promise.met_by(judged(sample))
            if missed > allowed:
                stop.set()

        await drive(place, iter(stretch), Open(), sinks=(count,), stop=stop)
        if missed > allowed:
            return False
    return True


async def warm(place: Endpoint, stretch: Sequence[Arrival]) -> None:
    """What is done for the first time takes longer: a few to the cloud, a crowd, then some seconds as usual."""
    few = [Arrival(Prompt(f"Where does the water go, {number}?"), 0.0, CROWD_TOKENS) for number in range(CROWD)]
    await asked(place, [[replace(each, tier=CLOUD_TIER) for each in few[:FIRST]], few, stretch])


async def till_of(cloud_url: str) -> Till:
    """What the stand-in cloud has counted since it began."""
    found = await _got(f"{cloud_url}/_stats")
    counts: Mapping[str, int] = found["by_status"]
    return Till(counts.get("200", 0), float(found["usd"]))


async def page_of(url: str | None) -> str:
    """A page of metrics; empty where there is none."""
    if url is None:
        return ""
    async with aiohttp.ClientSession() as client, client.get(url) as response:
        return await response.text()


async def _got(url: str) -> Mapping[str, Any]:
    async with aiohttp.ClientSession() as client, client.get(url) as response:
        response.raise_for_status()
        return dict(await response.json())
