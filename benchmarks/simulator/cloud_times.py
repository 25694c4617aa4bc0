"""A cloud as callers meet it: what it costs, and how long its first token and its answers take. Pure."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass

import numpy as np

from benchmarks.price import Price

# The middle prices and times of the hosted small models that can be had; the pace of hosted Llama-2-70B services in
# llmperf's records of December 2023 (14.6 to 15.3 ms a token).
TTFT_P50_S, TTFT_P95_S, TPOT_S = 0.6, 1.5, 0.015
# The standard normal quantile of 95 %.
Z95 = 1.6448536269514722
FORM = "PRICE_IN/PRICE_OUT[,TTFT_P50,TTFT_P95[,TPOT]]"
# How many numbers FORM may have: prices, then times.
PRICES, TIMES = 2, (0, 2, 3)


@dataclass(frozen=True, slots=True)
class CloudTimes:
    """TTFT is log-normal with this median and 95th percentile; tokens follow at an even pace."""

    price: Price
    ttft_p50_s: float = TTFT_P50_S
    ttft_p95_s: float = TTFT_P95_S
    tpot_s: float = TPOT_S

    def ttfts_s(self, count: int, seed: int, call: int = 0) -> array[float]:
        """The TTFT of each request by its number, at its first call or a later one: they depend on that and the seed,
        not on what else is spilled."""
        sigma = math.log(self.ttft_p95_s / self.ttft_p50_s) / Z95
        normal = np.random.default_rng((seed, call) if call else seed).standard_normal(count)
        return array("d", (self.ttft_p50_s * np.exp(sigma * normal)).tobytes())

    def usd(self, prompt_tokens: int, output_tokens: int) -> float:
        """What a request costs."""
        return self.price.usd(prompt_tokens, output_tokens)


def cloud_in(text: str) -> CloudTimes:
    """From `0.15/0.60,0.6,1.5`: dollars a million tokens, then seconds. Raises ValueError with a sentence."""
    prices, *times = text.split(",")
    try:
        paid = [float(each) for each in prices.split("/")]
        waited_s = [float(each) for each in times]
    except ValueError:
        raise ValueError(f"--cloud {text!r}: write {FORM}, such as 0.15/0.60,0.6,1.5") from None
    if len(paid) != PRICES or len(waited_s) not in TIMES:
        raise ValueError(f"--cloud {text!r}: write {FORM}, such as 0.15/0.60,0.6,1.5")
    if min(paid) < 0 or max(paid) == 0 or not all(map(math.isfinite, (*paid, *waited_s))):
        raise ValueError(f"--cloud {text!r}: prices are dollars a million tokens, above 0")
    if waited_s and (min(waited_s) <= 0 or waited_s[1] < waited_s[0]):
        raise ValueError(f"--cloud {text!r}: times are above 0 s, and the 95th percentile is not below the median")
    return CloudTimes(Price(*paid), *waited_s)
