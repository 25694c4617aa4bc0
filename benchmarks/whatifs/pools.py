"""The pools of a ledger: whose requests came, on which engines, under which promise, and what became of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.price import Price
from benchmarks.simulator.arrival import Arrival
from benchmarks.simulator.cloud_times import CloudTimes
from benchmarks.simulator.named import kind_of
from benchmarks.simulator.outcome import Promise
from benchmarks.simulator.setting import EngineKind, Setting
from benchmarks.simulator.steps import Steps
from benchmarks.whatifs import ledger
from benchmarks.whatifs.case import cases_of
from benchmarks.whatifs.hours import Window, offsets_s, windows_of
from benchmarks.whatifs.learned import learned
from benchmarks.whatifs.pool import Actual, Period, Pool
from benchmarks.whatifs.row import CLOUD, Block, Row
from benchmarks.whatifs.stack import Stack
from benchmarks.whatifs.wish import TTFT_S, Wish

LEAST_ROWS = 200
# So many first tokens of a cloud tell how long it takes.
LEAST_TTFTS = 20
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Looked:
    """The rows of a pool's windows. `every` are those of others there too."""

    windows: tuple[Window, ...]
    rows: tuple[tuple[Row, ...], ...]
    every: tuple[tuple[Row, ...], ...]

    def weighted(self) -> Iterator[tuple[Row, float]]:
        """Each row and for how many it stands."""
        for window, rows in zip(self.windows, self.rows, strict=True):
            for row in rows:
                yield row, window.weight

    def arrivals(self) -> list[Arrival]:
        """Moved so that one window follows the other."""
        return [
            Arrival(row.arrived_s + offset_s, row.prompt_tokens, row.completion_tokens, row.tenant)
            for rows, offset_s in zip(self.rows, offsets_s(self.windows), strict=True)
            for row in rows
        ]


def pools_in(path: Path, days: float, stack: Stack, wish: Wish) -> list[Pool]:
    """The busiest first. Raises ValueError with a sentence where there is nothing to reckon with."""
    since_unix_s = ledger.since_s(path, days)
    by_model: dict[str, list[Block]] = defaultdict(list)
    for block in ledger.blocks_in(path, since_unix_s):
        model = stack.model_of(block)
        if model is not None and wish.model in (None, model):
            by_model[model].append(block)
    counts = {model: sum(block.requests for block in blocks) for model, blocks in by_model.items()}
    known = sorted((model for model in counts if counts[model] >= LEAST_ROWS), key=lambda model: -counts[model])
    if not known:
        raise ValueError(_too_few(path, counts, wish))
    first_s, last_s = ledger.span_in(path, since_unix_s)
    lasts_s = max(last_s - first_s, 1.0)
    found, whys = [], []
    for model in known:
        share = counts[model] / sum(counts[each] for each in known)
        try:
            found.append(_pool(path, model, by_model[model], stack, replace(wish, most_requests=int(wish.most_requests * share)), lasts_s))
        except ValueError as error:
            whys.append(f"{model}: {error}")
    if not found:
        raise ValueError("\n".join(whys))
    notes = [*whys, *_notes(counts, known, ledger.unanswered_in(path, since_unix_s), lasts_s)]
    return [replace(found[0], notes=(*found[0].notes, *notes)), *found[1:]]


def _too_few(path: Path, counts: dict[str, int], wish: Wish) -> str:
    if wish.model is not None and wish.model not in counts:
        return f"{path}: no request belongs to the engines of {wish.model!r}; leave --model out to see which there are"
    there = ", ".join(f"{model} {count}" for model, count in counts.items()) or "none at all"
    return (
        f"{path}: too few answered requests of engines here ({there}); {LEAST_ROWS} of one model are needed. Ask for "
        "more --days, wait until there are more, or name a --trace FILE with --engine and --cloud"
    )


def _notes(counts: dict[str, int], known: Sequence[str], unanswered: int, lasts_s: float) -> Iterator[str]:
    for model in sorted(counts.keys() - set(known)):
        yield f"{model}: left out, {counts[model]} requests are too few"
    if unanswered:
        yield f"{unanswered:,} requests without an answer of tokens (refused, failed, embeddings) are not reckoned with"
    if lasts_s < DAY_S:
        yield f"the ledger shows {lasts_s / 3600:.1f} h: a month is reckoned as if it went on like that day and night"


def _pool(path: Path, model: str, blocks: Sequence[Block], stack: Stack, wish: Wish, lasts_s: float) -> Pool:
    """Raises ValueError with a sentence where its cloud or its engine is not known."""
    places = stack.places_of(model)
    engines = wish.engines or len(places) or len({block.target for block in blocks if block.is_local}) or 1
    requests: Counter[int] = Counter()
    for block in blocks:
        requests[block.slot] += block.requests
    looked = _looked(path, model, stack, windows_of(requests, wish.most_requests // len(cases_of(engines))))
    cloud, cloud_note = _cloud(model, looked, stack, wish)
    kind, kind_note = _kind(model, looked, stack, wish)
    promise, promise_notes = _promise(blocks, stack, wish)
    setting = Setting(looked.arrivals(), kind, engines, cloud, promise, wish.seed)
    prompts, answers = sum(block.prompt_tokens for block in blocks), sum(block.completion_tokens for block in blocks)
    return Pool(
        name=model,
        setting=setting,
        weights=np.array([weight for _, weight in looked.weighted()]),
        period=Period(lasts_s, requests.total(), cloud.usd(prompts, answers)),
        windows=looked.windows,
        card=places[0].card if places else "",
        gpus=places[0].gpus if places else 1,
        actual=_actual(blocks, looked, promise),
        notes=(kind_note, cloud_note, *promise_notes),
    )


def _looked(path: Path, model: str, stack: Stack, windows: tuple[Window, ...]) -> Looked:
    every = tuple(tuple(rows) for rows in ledger.rows_in(path, windows))
    return Looked(windows, tuple(tuple(row for row in rows if stack.model_of(row) == model) for rows in every), every)


def _cloud(model: str, looked: Looked, stack: Stack, wish: Wish) -> tuple[CloudTimes, str]:
    """Its price, and how long it takes: as the ledger says, where it does."""
    if wish.cloud is not None:
        return wish.cloud, "cloud: as asked for"
    twin = stack.twin_of(model)
    if twin is None:
        raise ValueError(
            f"no cloud with a known price stands in for it; name its `twin` in [models.{model}] and run `spillway lock`, "
            "or set input_usd_per_mtok and output_usd_per_mtok in the cloud's table, or give --cloud 0.15/0.60"
        )
    name, price = twin
    if not price.input_usd_per_mtok + price.output_usd_per_mtok:
        raise ValueError(f"its twin {name} costs nothing, so no engine saves anything; give --cloud PRICE_IN/PRICE_OUT")
    return _timed(name, price, [row for rows in looked.every for row in rows if row.target == CLOUD + name])


def _timed(name: str, price: Price, rows: Sequence[Row]) -> tuple[CloudTimes, str]:
    """Rows that nothing held before they went are the better ones, where there are enough of them."""
    asked = f"cloud: {name}, ${price.input_usd_per_mtok:g}/${price.output_usd_per_mtok:g} a million tokens"
    streamed = [row for row in rows if row.ttft_s]
    direct = [row for row in streamed if not row.reason.startswith("spill:")]
    told = direct if len(direct) >= LEAST_TTFTS else streamed
    if len(told) < LEAST_TTFTS:
        times = CloudTimes(price)
        return times, f"{asked}; first token {times.ttft_p50_s:g} s, p95 {times.ttft_p95_s:g} s assumed"
    p50_s, p95_s = np.quantile([row.ttft_s or 0.0 for row in told], (0.5, 0.95))
    paces_s = [pace_s for row in told if (pace_s := row.tpot_s)]
    times = CloudTimes(price, float(p50_s), float(p95_s))
    if paces_s:
        times = replace(times, tpot_s=float(np.median(paces_s)))
    return times, f"{asked}; first token {p50_s:.2g} s, p95 {p95_s:.2g} s, from {len(told):,} rows of the ledger"


def _kind(model: str, looked: Looked, stack: Stack, wish: Wish) -> tuple[EngineKind, str]:
    """The named engine that was asked for or fits what the plan says; else as the ledger's rows tell."""
    places = stack.places_of(model)
    place = places[0] if places else None
    if wish.engine is not None:
        kind = kind_of(wish.engine)
        return kind, f"engine: {wish.engine}, as asked for ({kind.steps.source})"
    named = place.named() if place else None
    if named is not None:
        kind, note = kind_of(named), f"engine: {named}"
        note += f" ({kind.steps.source})"
    else:
        coefficients, off = learned(looked.rows)
        most = max((row.prompt_tokens + row.completion_tokens for rows in looked.rows for row in rows), default=1)
        kind = EngineKind(Steps(coefficients), max(_held(looked), most + 64))
        note = f"engine: {coefficients.source}, half of them within {off:.0%}"
        if place is None:
            note += f"; its room for KV is unknown, taken as the most seen ({kind.kv_tokens:,} tokens)"
    if place is not None:
        kind = replace(
            kind,
            kv_tokens=place.kv_tokens,
            max_sequences=place.max_sequences,
            max_batched_tokens=max(place.max_batched_tokens, place.max_sequences),
        )
    return kind, note


def _held(looked: Looked) -> int:
    """The most tokens that one engine had at once, as far as the ledger shows."""
    most = 0
    for rows in looked.rows:
        moments: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for row in rows:
            if row.is_local:
                tokens = row.prompt_tokens + row.completion_tokens
                moments[row.target] += [(row.arrived_s, tokens), (row.end_s, -tokens)]
        for changes in moments.values():
            held = np.cumsum([tokens for _, tokens in sorted(changes)])
            most = max(most, int(held.max()))
    return most


def _promise(blocks: Sequence[Block], stack: Stack, wish: Wish) -> tuple[Promise, list[str]]:
    """That of the tier with the most requests among those that may spill."""
    by_tier: Counter[str] = Counter()
    for block in blocks:
        by_tier[block.tier] += block.requests
    tiers = stack.rules.tiers
    spilling = [name for name in by_tier if name in tiers and tiers[name].may_spill]
    chosen = max(spilling or [name for name in by_tier if name in tiers], key=by_tier.__getitem__, default=None)
    promise = wish.promise(TTFT_S if chosen is None else tiers[chosen].ttft_target_s)
    others = by_tier.total() - (by_tier[chosen] if chosen else 0)
    notes = []
    if chosen is not None and wish.ttft_s is None:
        notes.append(f"promise: that of the tier {chosen}")
        if others:
            notes[0] += f"; {others:,} requests of other tiers are held to it too, and may spill too"
    return promise, notes


def _actual(blocks: Sequence[Block], looked: Looked, promise: Promise) -> Actual:
    requests = sum(block.requests for block in blocks)
    gone = [block for block in blocks if not block.is_local]
    kept = told = 0.0
    for row, weight in looked.weighted():
        if row.ttft_s is not None and row.tpot_s is not None:
            told += weight
            kept += weight * promise.met(row.ttft_s, row.tpot_s)
    return Actual(
        spilled_share=sum(block.requests for block in gone) / requests,
        kept_share=kept / told if told else None,
        usd=sum(block.usd for block in gone),
    )
