"""Makes documents and samples that look like measured ones: a small queue decides, so figures hang together."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import msgspec

from benchmarks.drive.sample import Sample
from benchmarks.figures.promise import Promise
from benchmarks.quantiles import quantile
from benchmarks.report.document import Costs, Document, Figure, Moment, Origin, Run, Summary

PROMISE = Promise({"ttft_s": 2.0, "tpot_s": 0.1})
STATISTICS = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Server:
    """How fast it is: seconds of work a request brings, at most so many at once, cloud for those that would wait."""

    first_s: float = 0.08
    token_s: float = 0.025
    slots: int = 16
    spills: bool = False
    fails: float = 0.0


CLOUD = Server(first_s=0.45, token_s=0.014, slots=400)


def samples_of(rate: float, seconds: float, server: Server | None = None, seed: int = 1) -> list[Sample]:
    """Poisson arrivals at a server with so many slots; a request that finds none waits, or goes to the cloud."""
    server = server or Server()
    draw = random.Random(seed)
    free_at_s = [0.0] * server.slots
    at_s = 0.0
    samples: list[Sample] = []
    while (at_s := at_s + draw.expovariate(rate)) < seconds:
        slot = min(range(server.slots), key=free_at_s.__getitem__)
        wait_s = max(0.0, free_at_s[slot] - at_s)
        cloud = server.spills and wait_s > 0.2
        busy = sum(end_s > at_s for end_s in free_at_s) / server.slots
        speed = CLOUD if cloud else _slowed(server, busy)
        sample = _sample(len(samples), at_s, 0.0 if cloud else wait_s, speed, draw)
        if not cloud:
            free_at_s[slot] = sample.ended_s
        samples.append(sample)
    return samples


def _slowed(server: Server, busy: float) -> Server:
    """The more slots are taken, the longer every token takes."""
    return replace(server, first_s=server.first_s * math.exp(0.4 * busy), token_s=server.token_s * (0.6 + 0.4 * busy))


def _sample(number: int, at_s: float, wait_s: float, speed: Server, draw: random.Random) -> Sample:
    cloud = speed is CLOUD
    tokens = max(2, int(draw.lognormvariate(math.log(96), 0.4)))
    first_s = wait_s + speed.first_s * draw.lognormvariate(0, 0.25)
    token_s = speed.token_s
    gaps_s = tuple(token_s * draw.lognormvariate(0, 0.15) for _ in range(tokens - 1))
    sent_s = at_s + draw.expovariate(1 / 0.0003)
    made = Sample(
        number=number,
        scheduled_s=at_s,
        sent_s=sent_s,
        first_s=at_s + first_s,
        last_s=at_s + first_s + sum(gaps_s),
        ended_s=at_s + first_s + sum(gaps_s) + 0.0004,
        status=200,
        gaps_s=gaps_s,
        gap_events=(1,) * (tokens - 1),
        events=tokens,
        prompt_tokens=draw.randint(80, 600),
        completion_tokens=tokens,
        finish_reason="stop",
        tier=draw.choice(["standard", "standard", "bulk", "premium"]),
        target="cloud/twin" if cloud else "local/main",
        reason="spill:queue" if cloud else "tier",
        attempts=1,
        usd=0.00042 if cloud else 0.0,
        request_id=f"request-{number}",
    )
    if draw.random() < speed.fails:
        return replace(made, status=503, error="status_5xx", message="HTTP 503", first_s=None, last_s=None, gaps_s=())
    return made


def figure_of(values: Sequence[float]) -> Figure | None:
    """With intervals of about the right width."""
    if not values:
        return None
    found = {name: quantile(values, at) for name, at in STATISTICS.items()} | {"mean": sum(values) / len(values)}
    width = 1.5 / math.sqrt(len(values))
    low = {name: value * (1 - width) for name, value in found.items()}
    high = {name: value * (1 + width) for name, value in found.items()}
    return Figure(count=len(values), low=low, high=high, **found)


def summary_of(samples: Sequence[Sample], seconds: float, promise: Promise | None = PROMISE) -> Summary:
    """Simple sums; the harness's own are in `benchmarks.figures.summary`."""
    good = [sample for sample in samples if sample.ok]
    failed = [sample for sample in samples if sample.error]
    spilled = sum(sample.reason.startswith("spill") for sample in samples)
    return Summary(
        requests=len(samples),
        seconds=seconds,
        warm_up_s=seconds * 0.1,
        ttft_s=figure_of([sample.ttft_s for sample in good if sample.ttft_s is not None]),
        tpot_s=figure_of([sample.tpot_s for sample in good if sample.tpot_s is not None]),
        itl_s=figure_of([gap_s for sample in good for gap_s in sample.gaps_s]),
        e2e_s=figure_of([sample.e2e_s for sample in good]),
        lag_s=figure_of([sample.lag_s for sample in samples]),
        input_tokens_per_s=sum(sample.prompt_tokens for sample in good) / seconds,
        output_tokens_per_s=sum(sample.completion_tokens for sample in good) / seconds,
        requests_per_s=len(good) / seconds,
        goodput_per_s=None if promise is None else sum(promise.met_by(sample) for sample in samples) / seconds,
        errors=len(failed),
        errors_by_kind=Counter([sample.error or "" for sample in failed]),
        mean_concurrency=sum(sample.e2e_s for sample in good) / seconds,
        targets=Counter([sample.target for sample in samples]),
        reasons=Counter([sample.reason for sample in samples]),
        tiers=Counter([sample.tier for sample in samples]),
        spill_share=spilled / len(samples) if spilled else None,
        promise="" if promise is None else str(promise),
        promise_broken=() if promise is None else promise.broken(list(samples)),
    )


def timeline_of(samples: Sequence[Sample], seconds: float, server: Server | None = None) -> list[Moment]:
    """One moment a second, as telemetry sees it."""
    server = server or Server()
    moments = []
    for at_s in range(int(seconds) + 1):
        open_now = [sample for sample in samples if sample.scheduled_s <= at_s < sample.ended_s]
        local = sum(sample.target.startswith("local") for sample in open_now)
        running = min(local, server.slots)
        ended = [sample for sample in samples if at_s - 1 < sample.ended_s <= at_s]
        moments.append(
            Moment(
                at_s=float(at_s),
                in_flight=len(open_now),
                running=running,
                waiting=local - running,
                kv_used=min(1.0, running / server.slots * 0.93),
                requests_per_s=float(len(ended)),
                output_tokens_per_s=float(sum(sample.completion_tokens for sample in ended)),
                gpu_power_w=90 + 260 * running / server.slots,
                gpu_memory_bytes=71 * 1024**3,
                cloud_usd=sum(sample.usd or 0.0 for sample in samples if sample.ended_s <= at_s),
            )
        )
    return moments


def run_of(
    rate: float, seconds: float = 60.0, server: Server | None = None, *, name: str = "", seed: int = 1
) -> tuple[Run, list[Sample]]:
    """A run and its samples."""
    server = server or Server()
    samples = samples_of(rate, seconds, server, seed)
    spent = sum(sample.usd or 0.0 for sample in samples)
    run = Run(
        name=name or f"rate {rate:g}",
        load={
            "rate": rate,
            "burstiness": 1.0,
            "input_tokens": "uniform:80-600",
            "output_tokens": "lognormal:96,0.4",
            "seed": seed,
        },
        summary=summary_of(samples, seconds),
        costs=Costs(
            cloud_usd=spent or None,
            energy_usd=0.0011,
            hardware_usd=0.033,
            usd_per_mtok=0.31,
            local_usd_per_mtok=0.21,
            cloud_usd_per_mtok=1.1,
            all_cloud_usd=len(samples) * 0.00042 if server.spills else None,
            joules=15_000.0,
            joules_per_token=1.4,
        ),
        timeline=timeline_of(samples, seconds, server),
    )
    return run, samples


def origin() -> Origin:
    """Of a machine with one GPU."""
    return Origin(
        command="python -m benchmarks sweep --url http://127.0.0.1:4000 --promise ttft_s=2,tpot_s=0.1",
        began_at="2026-11-21T14:00:00+00:00",
        machine={
            "cpu": "AMD EPYC 9534",
            "cores": 16,
            "memory_bytes": 128 * 1024**3,
            "kernel": "Linux 6.1",
            "python": "3.11.7",
        },
        gpus=({"name": "NVIDIA H100 80GB HBM3", "memory_bytes": 80 * 1024**3, "uuid": "GPU-1"},),
        engine={"kind": "vllm", "version": "0.32.0", "model": "llama-3.1-8b"},
        lock_digest="sha256:" + "ab" * 32,
        commit="1234567890abcdef1234567890abcdef12345678",
    )


@cache
def load_document(
    rate: float = 4.0, server: Server | None = None, seed: int = 1
) -> tuple[Document, dict[str, list[Sample]]]:
    """What `load` writes: one run."""
    run, samples = run_of(rate, server=server, seed=seed)
    document = Document(verb="load", title="llama-3.1-8b", origin=origin(), runs=[run], summary=run.summary)
    return document, {run.name: samples}


@cache
def sweep_document() -> tuple[Document, dict[str, list[Sample]]]:
    """What `sweep` writes: one run per load, and the knee."""
    made = [run_of(rate) for rate in (1.0, 2.0, 4.0, 6.0, 7.0, 8.0, 9.0)]
    kept = [run for run, _ in made if not run.summary.promise_broken]
    knee = {"load": kept[-1].load["rate"], "unit": "requests/s", "run": kept[-1].name}
    document = Document(
        verb="sweep",
        title="llama-3.1-8b: the highest load that keeps the promise",
        origin=origin(),
        runs=[run for run, _ in made],
        summary=kept[-1].summary,
        knee=knee,
    )
    return document, {run.name: samples for run, samples in made}


@cache
def hybrid_document() -> tuple[Document, dict[str, list[Sample]]]:
    """What `hybrid` writes: the same trace three times; the hybrid meets a fault."""
    local = run_of(9.0, server=Server(), name="local only")
    cloud = run_of(9.0, server=CLOUD, name="all cloud")
    hybrid = run_of(9.0, server=Server(spills=True, fails=0.004), name="hybrid")
    events = ((20.0, "kill-engine"), (31.5, "engine back"))
    runs = [local[0], cloud[0], replace_events(hybrid[0], events)]
    document = Document(
        verb="hybrid", title="One trace, three ways", origin=origin(), runs=runs, summary=runs[-1].summary
    )
    return document, {run.name: samples for run, samples in (local, cloud, hybrid)}


def replace_events(run: Run, events: Sequence[tuple[float, str]]) -> Run:
    """The run with faults in its timeline, and what came of each phase."""
    return msgspec.structs.replace(
        run,
        events=events,
        notes=["the engine counts 12 more output tokens than the answers hold"],
        parts=[part("before the engine is killed", 180, False), part("while it is gone", 110, True)],
    )


def part(name: str, requests: int, is_broken: bool) -> dict[str, Any]:
    """One phase of a run with faults."""
    return {
        "name": name,
        "requests": requests,
        "kept_share": 0.91 if is_broken else 1.0,
        "errors": {"status_5xx": 4} if is_broken else {},
        "ttft_p50_s": 0.2,
        "ttft_p95_s": 0.6,
        "cloud_share": 0.4,
        "usd": None if is_broken else 0.04,
        "promise_broken": ["4 of 110 requests failed"] if is_broken else [],
    }
