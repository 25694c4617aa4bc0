"""What the lines before engines look like, and how far predicted first tokens lay from what came, for Prometheus. Pure.

Each worker has lines of its own; these are of the one that is asked.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from router.pools import Pools

QUANTILES = (("0.5", "p50_s"), ("0.95", "p95_s"))


def line_gauges(pools: Pools, now_s: float) -> Iterator[Metric]:
    """All families; what nobody knows has no sample, because 0 would be a lie."""
    waiting = GaugeMetricFamily("spillway_line", "Requests that wait for room at an engine", labels=["model"])
    tokens = GaugeMetricFamily("spillway_line_tokens", "Prompt tokens that wait for room", labels=["model"])
    gone = GaugeMetricFamily("spillway_spilled_work", "Of 1, what of the work of late found no room", labels=["model"])
    for line in pools.shown(now_s):
        waiting.add_metric([line.model], line.waiting)
        tokens.add_metric([line.model], line.tokens)
        gone.add_metric([line.model], line.gone_share)
    kept = GaugeMetricFamily("spillway_promise_kept", "Of 1, what of late was served as promised", labels=["tier"])
    for tier, share in pools.kept_shares():
        kept.add_metric([tier], share)
    words = "Calls made a second time, because the cloud was silent"
    second = CounterMetricFamily("spillway_second_calls", words, labels=["target"])
    for name, count in pools.second_calls.items():
        second.add_metric([name], count)
    yield from (waiting, tokens, gone, kept, second)
    yield from _errors(pools)


def _errors(pools: Pools) -> Iterator[Metric]:
    words = "Predicted against actual time to first token, of the newest 512: the error without its sign"
    errors = GaugeMetricFamily("spillway_ttft_error_seconds", words, labels=["target", "quantile"])
    bias = GaugeMetricFamily(
        "spillway_ttft_bias_seconds", "Median of actual less predicted time to first token", labels=["target"]
    )
    judged = CounterMetricFamily("spillway_ttft_predictions", "First tokens that were predicted", labels=["target"])
    for name, found in pools.errors():
        judged.add_metric([name], found.count)
        for quantile, figure in QUANTILES:
            if (value := getattr(found, figure)) is not None:
                errors.add_metric([name, quantile], value)
        if found.bias_p50_s is not None:
            bias.add_metric([name], found.bias_p50_s)
    yield from (errors, bias, judged)
