"""Prometheus metrics of the router: counters and histograms of its own, gauges read from the Watch when scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from engines.snapshot import Snapshot
from router.gauges import snapshot_gauges
from router.outcome import Outcome
from router.quotas.room import UNBOUNDED
from router.routing.fleet import Fleet, Place
from router.spilling.budget import UNPACED, Allowance
from router.spilling.periods import Dollars
from router.tally import SECONDS, Sums, Tally, from_json

WHERE = ("target", "tier")
WHY = (*WHERE, "reason")
BOUNDS = (*map(str, SECONDS), "+Inf")


class Metrics:
    """What finished requests add up to, and what the fleet looks like now."""

    def __init__(
        self,
        view: Callable[[], Fleet],
        spent: Callable[[], Dollars],
        workers: int = 1,
        heard: Callable[[], tuple[Snapshot | None, float]] = lambda: (None, 0.0),
        allowed: Callable[[], Allowance] = lambda: UNPACED,
        lines: Callable[[], Iterable[Metric]] = tuple,
    ) -> None:
        self._view = view
        self._heard = heard
        self._spent = spent
        self._allowed = allowed
        self._workers = workers
        self._lines = lines
        self._tally = Tally()
        self.observe: Callable[[Outcome], None] = self._tally.add

    def resume(self, exported: bytes) -> None:
        """Go on from what the worker that had this seat before has counted. Raises ValueError."""
        self._tally.resume(from_json(exported))

    def export(self) -> bytes:
        """What this worker has counted, for the `text` of another one."""
        return self._tally.to_json()

    def text(self, others: Sequence[bytes] = ()) -> bytes:
        """The page: this worker's counts with what other workers have exported. Raises ValueError if one is none."""
        sums = [*self._tally.sums(), *(each for other in others for each in from_json(other))]
        money = (*_spent(self._spent()), *_paced(self._allowed()))
        more = chain(self._lines(), snapshot_gauges(*self._heard()))
        return generate_latest(_Page(sums, self._view(), money, self._workers, more))


class _Page(Collector):
    """All families of one scrape."""

    def __init__(
        self,
        sums: Sequence[Sums],
        fleet: Fleet,
        money: Sequence[Metric],
        workers: int,
        more: Iterable[Metric],
    ) -> None:
        self._sums = sums
        self._fleet = fleet
        self._money = money
        self._workers = workers
        self._more = more

    def collect(self) -> Iterator[Metric]:
        yield _requests(self._sums)
        yield _tokens(self._sums)
        yield _usd(self._sums)
        first = [(each, each.ttft_s, each.ttft_buckets) for each in self._sums if any(each.ttft_buckets)]
        yield _histogram("ttft_seconds", "Time to first token", first)
        whole = [(each, each.e2e_s, each.e2e_buckets) for each in self._sums]
        yield _histogram("request_seconds", "Time from arrival to the last byte", whole)
        yield from _gauges(self._fleet)
        yield from self._money
        yield from self._more
        yield GaugeMetricFamily("spillway_workers", "Router processes that share the port", self._workers)


def _requests(sums: Iterable[Sums]) -> Metric:
    labels = (*WHY, "status")
    family = CounterMetricFamily("spillway_requests", "Requests answered", labels=labels)
    for values, group in _grouped(sums, labels).items():
        family.add_metric(values, sum(each.requests for each in group), _since(group))
    return family


def _tokens(sums: Iterable[Sums]) -> Metric:
    labels = (*WHERE, "direction")
    family = CounterMetricFamily("spillway_tokens", "Tokens, as targets counted them", labels=labels)
    for values, group in _grouped(sums, WHERE).items():
        family.add_metric((*values, "prompt"), sum(each.prompt_tokens for each in group), _since(group))
        family.add_metric((*values, "completion"), sum(each.completion_tokens for each in group), _since(group))
    return family


def _usd(sums: Iterable[Sums]) -> Metric:
    family = CounterMetricFamily("spillway_usd", "Dollars spent at clouds", labels=WHERE)
    for values, group in _grouped(sums, WHERE).items():
        family.add_metric(values, sum(each.usd for each in group), _since(group))
    return family


def _histogram(name: str, text: str, parts: Iterable[tuple[Sums, float, list[int]]]) -> Metric:
    """Of (labels, sum, count of each bucket by itself)."""
    family = HistogramMetricFamily(f"spillway_{name}", text, labels=WHY)
    groups: dict[tuple[str, ...], list[tuple[Sums, float, list[int]]]] = {}
    for part in parts:
        groups.setdefault(_values(part[0], WHY), []).append(part)
    for values, group in groups.items():
        counts = accumulate(map(sum, zip(*(buckets for _, _, buckets in group), strict=True)))
        total_s = sum(total for _, total, _ in group)
        family.add_metric(values, list(zip(BOUNDS, counts, strict=True)), total_s)
        since = _since([sums for sums, _, _ in group])
        family.add_sample(f"{family.name}_created", dict(zip(WHY, values, strict=True)), since)
    return family


def _grouped(sums: Iterable[Sums], names: Sequence[str]) -> dict[tuple[str, ...], list[Sums]]:
    """By the values of these labels, in the order in which they first came."""
    groups: dict[tuple[str, ...], list[Sums]] = {}
    for each in sums:
        groups.setdefault(_values(each, names), []).append(each)
    return groups


def _values(sums: Sums, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(getattr(sums, name)) for name in names)


def _since(group: Sequence[Sums]) -> float:
    return min(each.since_unix_s for each in group)


def _gauges(fleet: Fleet) -> Iterator[Metric]:
    """Gauges are computed when they are read, so there is no second copy to keep true."""
    ready = GaugeMetricFamily("spillway_target_ready", "1 if the target can take requests", labels=["target"])
    flying = GaugeMetricFamily("spillway_in_flight", "Requests in flight", labels=["target"])
    promised = GaugeMetricFamily("spillway_in_flight_tokens", "Tokens promised to them", labels=["target"])
    kv = GaugeMetricFamily("spillway_kv_used_fraction", "KV cache in use, as the engine says", labels=["target"])
    waiting = GaugeMetricFamily("spillway_engine_waiting", "Requests waiting in the engine", labels=["target"])
    left = GaugeMetricFamily("spillway_quota_left", "Of 1, what its provider's limits leave", labels=["target"])
    for target in fleet.targets:
        ready.add_metric([target.name], float(target.off is None))
        flying.add_metric([target.name], target.in_flight.requests)
        promised.add_metric([target.name], target.in_flight.promised_tokens)
        if target.place is Place.LOCAL and target.load is not None:
            kv.add_metric([target.name], target.load.kv_used_fraction)
            waiting.add_metric([target.name], target.load.waiting)
        if target.room is not UNBOUNDED:
            left.add_metric([target.name], target.room.left_share)
    yield from (ready, flying, promised, kv, waiting, left)


def _spent(spent: Dollars) -> Iterator[Metric]:
    words = "Dollars spent at clouds or set aside for them since the hour, day or month began (UTC)"
    family = GaugeMetricFamily("spillway_spent_usd", words, labels=["period"])
    for period, usd in (("hour", spent.hour), ("day", spent.day), ("month", spent.month)):
        family.add_metric([period], usd)
    yield family


def _paced(found: Allowance) -> Iterator[Metric]:
    """As of the worker that is asked."""
    words = "So many times its price a dollar counts, so that the budgets last; infinite where one is spent"
    yield GaugeMetricFamily("spillway_budget_price_factor", words, found.price_factor)
    now = GaugeMetricFamily("spillway_tier_usd_now", "Dollars that a tier may spend at this moment", labels=["tier"])
    stretch = GaugeMetricFamily("spillway_tier_stretch", "So many times as long is its promise", labels=["tier"])
    for tier, usd in found.usd_now.items():
        now.add_metric([tier], usd)
        stretch.add_metric([tier], found.stretch[tier])
    yield from (now, stretch)
