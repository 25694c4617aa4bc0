"""What an engine and the router say of themselves on their /metrics pages. Pure: the page in, numbers out.

Only the families that a run needs are looked at: a page has thousands of lines, and who reads it also makes the load.
Names and meanings are those of vLLM 0.32 and 0.33. A page without them is of another server and gives None.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

ENGINE = (
    b"vllm:num_requests_running",
    b"vllm:num_requests_waiting",
    b"vllm:kv_cache_usage_perc",
    b"vllm:prompt_tokens_total",
    b"vllm:generation_tokens_total",
    b"vllm:request_queue_time_seconds_sum",
    b"vllm:request_queue_time_seconds_bucket",
)
ROUTER = (
    b"spillway_usd_total",
    b"spillway_workers",
    b"spillway_kv_used_fraction",
    b"spillway_engine_waiting",
)
REST = re.compile(rb"(\{[^\n]*\})? (\S+)")
BOUND = re.compile(rb'le="([^"]+)"')
QUEUE = "request_queue_time_seconds"


@dataclass(frozen=True, slots=True)
class EnginePage:
    """An engine now, and its counts since it started; several cores behind one server are added up.

    `kv_used` is the share of the fullest core. `queue_buckets`: how many requests waited at most so many seconds.
    """

    running: int
    waiting: int
    kv_used: float | None
    prompt_tokens: int
    generation_tokens: int
    queue_s: float = 0.0
    queue_buckets: Mapping[float, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RouterPage:
    """The dollars a router has spent at clouds since it started, and what it knows of its engines."""

    cloud_usd: float
    kv_used: float | None
    waiting: int | None


def engine_page(page: bytes) -> EnginePage | None:
    """From the page of a vLLM server, None where it is none."""
    sums: dict[str, float] = {}
    fullest: float | None = None
    buckets: dict[float, int] = {}
    for name, labels, value in _samples(ENGINE, page):
        if name == "kv_cache_usage_perc":
            fullest = max(fullest or 0.0, value)
        elif name == f"{QUEUE}_bucket":
            bound_s = _bound_s(labels)
            buckets[bound_s] = buckets.get(bound_s, 0) + int(value)
        else:
            sums[name] = sums.get(name, 0.0) + value
    if "num_requests_running" not in sums:
        return None
    return EnginePage(
        running=int(sums["num_requests_running"]),
        waiting=int(sums.get("num_requests_waiting", 0)),
        kv_used=fullest,
        prompt_tokens=int(sums.get("prompt_tokens_total", 0)),
        generation_tokens=int(sums.get("generation_tokens_total", 0)),
        queue_s=sums.get(f"{QUEUE}_sum", 0.0),
        queue_buckets=buckets,
    )


def router_page(page: bytes) -> RouterPage | None:
    """From the page of Spillway's router, None where it is none."""
    usd = 0.0
    waiting: int | None = None
    fullest: float | None = None
    is_router = False
    for name, _, value in _samples(ROUTER, page):
        is_router = is_router or name == "workers"
        if name == "usd_total":
            usd += value
        elif name == "engine_waiting":
            waiting = (waiting or 0) + int(value)
        elif name == "kv_used_fraction":
            fullest = max(fullest or 0.0, value)
    return RouterPage(usd, fullest, waiting) if is_router else None


def _samples(families: Sequence[bytes], page: bytes) -> Iterator[tuple[str, bytes, float]]:
    """Each family is looked for by itself: a third of the time that a look at each line takes."""
    page = b"\n" + page
    for family in families:
        sought = b"\n" + family
        name = family.removeprefix(b"vllm:").removeprefix(b"spillway_").decode()
        at = page.find(sought)
        while at >= 0:
            # What follows another family's longer name does not match.
            found = REST.match(page, at + len(sought))
            if found is not None:
                yield name, found[1] or b"", float(found[2])
            at = page.find(sought, at + len(sought))


def _bound_s(labels: bytes) -> float:
    found = BOUND.search(labels)
    return float(found[1]) if found else float("inf")
