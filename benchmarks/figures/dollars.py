"""What a run cost, in dollars and joules, and what the same tokens would have cost at a cloud. Pure.

- `cloud_usd`: what the router told of each cloud answer (`x-spillway-usd`) where it told it of all; else the growth of
  its ledger, requests of others included. Zero only where targets are known and none is a cloud.
- `energy_usd`: joules / 3.6e6 x price of a kWh. `hardware_usd`: GPUs x price of an hour x hours of the run.
- `usd_per_mtok` and its parts: dollars by a million tokens, prompt and answer together, because a cloud's bill has both
  and the two sides must be comparable. Local dollars are those of energy and hardware that are known.
- `all_cloud_usd`: prompt tokens x price in + output tokens x price out, of all complete answers.
- `joules_per_token`: joules / output tokens of local answers.

What is unknown is None and stays so in every sum it belongs to: it is never taken for zero.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.drive.sample import Sample
from benchmarks.figures.summary import CLOUD, tokens_of
from benchmarks.price import Price
from benchmarks.report.document import Costs

JOULES_PER_KWH = 3.6e6
SECONDS_PER_HOUR = 3600.0
MTOK = 1e6


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars for a kWh, for an hour of one GPU, and for a cloud's tokens. None: not given."""

    usd_per_kwh: float | None = None
    gpu_usd_per_hour: float | None = None
    cloud: Price | None = None


@dataclass(frozen=True, slots=True)
class Meters:
    """What was read from outside over the run. `ledger_usd` is the growth of the router's spending."""

    seconds: float
    joules: float | None = None
    gpus: int = 0
    ledger_usd: float | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of prices."""
    parser.add_argument("--usd-per-kwh", type=float, metavar="USD", help="price of electricity")
    parser.add_argument("--gpu-usd-per-hour", type=float, metavar="USD", help="price of one GPU for an hour")
    cloud = "price of a cloud for a million tokens, such as 0.15,0.60 (else that of the router's first cloud)"
    parser.add_argument("--cloud-usd-per-mtok", metavar="IN,OUT", help=cloud)


def prices_in(options: argparse.Namespace, cloud: Price | None = None) -> Prices:
    """From the options; `cloud` where none is given there. Raises ValueError with a sentence."""
    for name in ("usd_per_kwh", "gpu_usd_per_hour"):
        value = getattr(options, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise ValueError(f"--{name.replace('_', '-')} {value:g}: a price is a number of dollars, 0 or more.")
    given = options.cloud_usd_per_mtok
    return Prices(options.usd_per_kwh, options.gpu_usd_per_hour, cloud if given is None else _price_in(given))


def costs_of(samples: Sequence[Sample], meters: Meters, prices: Prices) -> Costs:
    """The costs of a whole run, warm-up included: the meters cannot be cut."""
    complete = [sample for sample in samples if sample.ok]
    there = [sample for sample in complete if sample.target.startswith(CLOUD)]
    here = [sample for sample in complete if not sample.target.startswith(CLOUD)]
    cloud_usd = _cloud_usd(samples, meters.ledger_usd)
    energy_usd = _times(meters.joules, prices.usd_per_kwh, 1 / JOULES_PER_KWH)
    hours = meters.seconds / SECONDS_PER_HOUR
    hardware_usd = _times(prices.gpu_usd_per_hour, meters.gpus * hours) if meters.gpus else None
    known = [usd for usd in (energy_usd, hardware_usd) if usd is not None]
    local_usd = sum(known) if known else None
    return Costs(
        cloud_usd=cloud_usd,
        energy_usd=energy_usd,
        hardware_usd=hardware_usd,
        usd_per_mtok=_per(_together((local_usd, here), (cloud_usd, there)), MTOK, _tokens(complete)),
        local_usd_per_mtok=_per(local_usd, MTOK, _tokens(here)),
        cloud_usd_per_mtok=_per(cloud_usd, MTOK, _tokens(there)),
        all_cloud_usd=_all_cloud_usd(complete, prices.cloud),
        joules=meters.joules,
        joules_per_token=_per(meters.joules, 1.0, sum(map(tokens_of, here))),
    )


def _cloud_usd(samples: Iterable[Sample], ledger_usd: float | None) -> float | None:
    """Failures count too: a cloud takes money for an answer that was cut."""
    targets = [sample for sample in samples if sample.target]
    spilled = [sample for sample in targets if sample.target.startswith(CLOUD)]
    told = [sample.usd for sample in spilled if sample.usd is not None]
    if targets and len(told) == len(spilled):
        return math.fsum(told)
    return ledger_usd


def _all_cloud_usd(complete: Iterable[Sample], price: Price | None) -> float | None:
    if price is None:
        return None
    return math.fsum(price.usd(_prompt_tokens(sample), tokens_of(sample)) for sample in complete)


def _together(*sides: tuple[float | None, Sequence[Sample]]) -> float | None:
    """The dollars of both sides; None where one that answered something does not know its own."""
    if any(usd is None and samples for usd, samples in sides):
        return None
    return sum(usd for usd, _ in sides if usd is not None)


def _tokens(samples: Iterable[Sample]) -> int:
    return sum(_prompt_tokens(sample) + tokens_of(sample) for sample in samples)


def _prompt_tokens(sample: Sample) -> int:
    return sample.prompt_tokens or sample.expected_prompt_tokens or 0


def _per(amount: float | None, times: float, tokens: int) -> float | None:
    return None if amount is None or not tokens else amount * times / tokens


def _times(*factors: float | None) -> float | None:
    known = [factor for factor in factors if factor is not None]
    return math.prod(known) if len(known) == len(factors) else None


def _price_in(text: str) -> Price:
    try:
        paid, got = (float(part) for part in text.split(","))
    except ValueError:
        paid = got = math.nan
    if not (math.isfinite(paid) and math.isfinite(got) and min(paid, got) >= 0):
        raise ValueError(f"--cloud-usd-per-mtok {text!r} must be two prices in dollars, such as 0.15,0.60 (in, out).")
    return Price(paid, got)
