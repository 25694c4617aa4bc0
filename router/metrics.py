"""Prometheus metrics of the router: counters and histograms of its own, gauges read from the Watch when scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from router.fleet import Fleet, Place
from router.ledger import Outcome

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


class Metrics:
    """What finished requests add up to, and what the fleet looks like now."""

    def __init__(self, view: Callable[[], Fleet], spent_today_usd: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        labels = ("target", "tier", "reason")
        self._requests = self._counter("requests", "Requests answered", (*labels, "status"))
        self._tokens = self._counter("tokens", "Tokens, as targets counted them", ("target", "tier", "direction"))
        self._usd = self._counter("usd", "Dollars spent at clouds", ("target", "tier"))
        self._ttft = self._histogram("ttft_seconds", "Time to first token", labels)
        self._e2e = self._histogram("request_seconds", "Time from arrival to the last byte", labels)
        self._registry.register(_Gauges(view, spent_today_usd))

    def observe(self, outcome: Outcome) -> None:
        labels = (outcome.target, outcome.tier, outcome.reason)
        self._requests.labels(*labels, str(outcome.status)).inc()
        self._tokens.labels(outcome.target, outcome.tier, "prompt").inc(outcome.prompt_tokens)
        self._tokens.labels(outcome.target, outcome.tier, "completion").inc(outcome.completion_tokens)
        self._usd.labels(outcome.target, outcome.tier).inc(outcome.usd)
        self._e2e.labels(*labels).observe(outcome.e2e_s)
        if outcome.ttft_s is not None:
            self._ttft.labels(*labels).observe(outcome.ttft_s)

    def export(self) -> bytes:
        """The tally of this worker, for the `text` of another one."""
        return b"[]"

    def text(self, others: Sequence[bytes] = ()) -> bytes:
        """The metrics page: this worker and, added to it, what the others have exported."""
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"spillway_{name}", text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, labels: tuple[str, ...]) -> Histogram:
        return Histogram(f"spillway_{name}", text, labels, buckets=SECONDS, registry=self._registry)


class _Gauges(Collector):
    """Gauges are computed when they are read, so there is no second copy to keep true."""

    def __init__(self, view: Callable[[], Fleet], spent_today_usd: Callable[[], float]) -> None:
        self._view = view
        self._spent_today_usd = spent_today_usd

    def collect(self) -> Iterator[GaugeMetricFamily]:
        ready = GaugeMetricFamily("spillway_target_ready", "1 if the target can take requests", labels=["target"])
        flying = GaugeMetricFamily("spillway_in_flight", "Requests in flight", labels=["target"])
        promised = GaugeMetricFamily("spillway_in_flight_tokens", "Tokens promised to them", labels=["target"])
        kv = GaugeMetricFamily("spillway_kv_used_fraction", "KV cache in use, as the engine says", labels=["target"])
        waiting = GaugeMetricFamily("spillway_engine_waiting", "Requests waiting in the engine", labels=["target"])
        for target in self._view().targets:
            ready.add_metric([target.name], float(target.off is None))
            flying.add_metric([target.name], target.in_flight.requests)
            promised.add_metric([target.name], target.in_flight.promised_tokens)
            if target.place is Place.LOCAL and target.load is not None:
                kv.add_metric([target.name], target.load.kv_used_fraction)
                waiting.add_metric([target.name], target.load.waiting)
        spent = GaugeMetricFamily("spillway_spent_today_usd", "Dollars spent or set aside since midnight UTC")
        spent.add_metric([], self._spent_today_usd())
        yield from (ready, flying, promised, kv, waiting, spent)
