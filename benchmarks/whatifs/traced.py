"""The pool of a trace, for who has no ledger yet: engine, number of them and cloud are as asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.simulator.arrival import Arrival, span_s
from benchmarks.simulator.named import NAMED, kind_of
from benchmarks.simulator.setting import Setting
from benchmarks.whatifs.case import cases_of
from benchmarks.whatifs.hours import SLOT_S, Window, offsets_s, windows_of
from benchmarks.whatifs.pool import Period, Pool
from benchmarks.whatifs.wish import MOST_REQUESTS, Wish


def pool_of(path: Path, arrivals: Sequence[Arrival], wish: Wish) -> Pool:
    """Raises ValueError with a sentence where an engine or a cloud is missing."""
    if wish.engine is None:
        raise ValueError(f"--trace tells nothing of engines; name an --engine: {', '.join(NAMED)}")
    if wish.cloud is None:
        raise ValueError("--trace tells no price; name a --cloud, such as 0.15/0.60 (dollars a million tokens, in/out)")
    engines = wish.engines or 1
    windows = windows_of(
        Counter(int(each.at_s // SLOT_S) for each in arrivals), MOST_REQUESTS // len(cases_of(engines))
    )
    seen, weights = _placed(arrivals, windows)
    setting = Setting(seen, kind_of(wish.engine), engines, wish.cloud, wish.promise(), wish.seed)
    all_usd = sum(wish.cloud.usd(each.prompt_tokens, each.output_tokens) for each in arrivals)
    return Pool(
        name=path.name.partition(".")[0],
        setting=setting,
        weights=np.array(weights),
        period=Period(span_s(arrivals), len(arrivals), all_usd),
        windows=windows,
        card=wish.card,
        notes=(f"engine: {wish.engine} ({setting.engine.steps.source})", "not simulated: budgets, prefix caches"),
    )


def _placed(arrivals: Sequence[Arrival], windows: Sequence[Window]) -> tuple[list[Arrival], list[float]]:
    """Those in the windows, moved so that one window follows the other."""
    seen: list[Arrival] = []
    weights: list[float] = []
    for window, offset_s in zip(windows, offsets_s(windows), strict=True):
        inside = [each for each in arrivals if window.start_s <= each.at_s < window.end_s]
        seen += [each._replace(at_s=each.at_s + offset_s) for each in inside]
        weights += [window.weight] * len(inside)
    return seen, weights
