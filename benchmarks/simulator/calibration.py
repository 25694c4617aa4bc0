"""An engine's speed read from what was measured of it: times of its layers, or a profile of whole steps. Reads files.

Both come as tables in one folder. Layer tables (columns as LLMServingSim's profiler writes them, MIT licence,
casys-kaist/LLMServingSim): `STEM_dense.csv.gz` (layer, tokens, time_us), `STEM_per_sequence.csv.gz` (layer, sequences,
time_us) and `STEM_attention.csv.gz` (prefill_chunk, kv_prefill, n_decode, kv_decode, time_us), all but embedding, last
norm, head and sampler for one layer of many. Profiles (as NVIDIA Dynamo's planner keeps them, Apache-2.0):
`STEM_vllm_prefill.csv` (input_tokens, ttft_ms) and `STEM_vllm_decode.csv` (context_tokens, concurrent_requests_est,
itl_ms).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulator.steps import Attention, Coefficients, Knots
from benchmarks.workload.records import records_in

Column = NDArray[np.float64]
US_PER_MS = 1e3
NS_PER_US = 1e3
# How often a layer occurs in a step: once, or so many times in each of the model's layers.
ONCE = ("embedding", "final_layernorm", "lm_head", "sampler")
IN_EACH_LAYER = MappingProxyType({"layernorm": 2})
# A line needs so many points.
LEAST_POINTS = 2
# Below so many tokens the tables measure the start of a kernel, not what it does.
LEAST_TOKENS = 64
MOST_BEFORE = 8192
# vLLM leaves the loop at 1,024 sequences on such a card: a profile asked for more shows who waited.
MOST_SEQUENCES = 1024
# So far may a straight line between two knots be off.
KNOT_SHARE = 0.03


def layers_in(folder: Path, stem: str, *, layers: int, kv_tokens: int, overhead_ms: float = 0.0) -> Coefficients:
    """Layer tables summed; attention fitted where it can occur with `kv_tokens` of KV.

    `overhead_ms` is what a step takes besides its layers. Raises ValueError with a sentence on a table that cannot be
    read, OSError on one that is not there.
    """
    chunk, before, decoding, kv, time_us = _columns(
        folder / f"{stem}_attention.csv.gz", ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us")
    )
    read, pairs = decoding * kv, chunk * (before + chunk / 2)
    near = (read <= kv_tokens) & (before <= MOST_BEFORE)
    alone = near & (chunk == 0) & (decoding > 0)
    beside = near & (chunk >= LEAST_TOKENS) & (decoding > 0) & (kv >= LEAST_TOKENS)
    if not alone.any() or not beside.any():
        raise ValueError(f"{folder / stem}_attention.csv.gz: no rows of decoding alone, or none beside a prompt")
    once_us, sequence_us, kv_us = _fitted(layers * time_us[alone], decoding[alone], read[alone])
    beside_us, beside_sequence_us, beside_kv_us, chunk_us, pair_us = _fitted(
        layers * time_us[beside], decoding[beside], read[beside], chunk[beside], pairs[beside]
    )
    return Coefficients(
        source=f"layer tables {stem}",
        dense_ms=thinned(_summed(folder / f"{stem}_dense.csv.gz", "tokens", layers)),
        head_ms=thinned(_summed(folder / f"{stem}_per_sequence.csv.gz", "sequences", layers)),
        alone=Attention(once_us / US_PER_MS + overhead_ms, sequence_us, kv_us * NS_PER_US),
        beside=Attention(beside_us / US_PER_MS + overhead_ms, beside_sequence_us, beside_kv_us * NS_PER_US),
        chunk_us=chunk_us,
        pair_ns=pair_us * NS_PER_US,
    )


def profile_in(folder: Path, stem: str, *, most_tokens: int = 16384) -> Coefficients:
    """Whole steps fitted: decoding by sequences and KV, prompts by tokens and pairs of tokens.

    The measured TTFT also holds what a front end takes (about 13 ms at one H200), which no step does: only its slope
    counts here. Beside a prompt nothing was measured, so decoding costs there what it costs alone. Raises as
    `layers_in`.
    """
    context, sequences, itl_ms = _columns(
        folder / f"{stem}_vllm_decode.csv", ("context_tokens", "concurrent_requests_est", "itl_ms")
    )
    tokens, ttft_ms = _columns(folder / f"{stem}_vllm_prefill.csv", ("input_tokens", "ttft_ms"))
    held = sequences <= MOST_SEQUENCES
    once_ms, sequence_ms, kv_ms = _fitted(itl_ms[held], sequences[held], (sequences * context)[held])
    _, token_ms, pair_ms = _fitted(ttft_ms, tokens, tokens * tokens / 2)
    ns_per_ms = US_PER_MS * NS_PER_US
    # Of what one more sequence costs, its one token's part is in the dense layers already.
    attention = Attention(0.0, (sequence_ms - token_ms) * US_PER_MS, kv_ms * ns_per_ms)
    return Coefficients(
        source=f"profile {stem}",
        dense_ms=((0, once_ms), (most_tokens, once_ms + token_ms * most_tokens)),
        head_ms=((0, 0.0), (MOST_SEQUENCES, 0.0)),
        alone=attention,
        beside=attention,
        chunk_us=0.0,
        pair_ns=pair_ms * ns_per_ms,
    )


def thinned(knots: Knots, share: float = KNOT_SHARE) -> Knots:
    """Those of the knots, found from the ends inwards, whose lines miss none of the others by more than `share`."""
    (first, low), (last, high) = knots[0], knots[-1]
    worst, place = share, 0
    for index in range(1, len(knots) - 1):
        count, value = knots[index]
        line = low + (high - low) * (count - first) / (last - first)
        if abs(line / value - 1) > worst:
            worst, place = abs(line / value - 1), index
    if not place:
        return (knots[0], knots[-1])
    return (*thinned(knots[: place + 1], share)[:-1], *thinned(knots[place:], share))


def _summed(path: Path, count: str, layers: int) -> Knots:
    """Milliseconds of all layers in the table, by `count`."""
    total_ms: dict[int, float] = defaultdict(float)
    for row in records_in(path):
        layer = row.text("layer")
        times = 1 if layer in ONCE else layers * IN_EACH_LAYER.get(layer, 1)
        total_ms[int(row.number(count))] += times * row.number("time_us") / US_PER_MS
    if len(total_ms) < LEAST_POINTS:
        raise ValueError(f"{path}: needs rows of two different {count} at least")
    return tuple(sorted(total_ms.items()))


def _columns(path: Path, names: Sequence[str]) -> Sequence[Column]:
    rows = [[row.number(name) for name in names] for row in records_in(path)]
    if not rows:
        raise ValueError(f"{path}: there is no row in it")
    return list(np.array(rows).T)


def _fitted(measured: Column, *terms: Column) -> Sequence[float]:
    """A constant, then one factor for each term: least squares, so weighted that a long time counts for no more."""
    weight = measured**-0.5
    table = np.column_stack((np.ones_like(measured), *terms))
    found, *_ = np.linalg.lstsq(table * weight[:, None], measured * weight, rcond=None)
    return [float(each) for each in found]
