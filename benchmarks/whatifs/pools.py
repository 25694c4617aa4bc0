"""The pools of a ledger: whose requests came, on which engines, under which promise, and what became of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from benchmarks.simulator.outcome import Promise
from benchmarks.simulator.setting import Setting
from benchmarks.whatifs import ledger
from benchmarks.whatifs.case import cases_of
from benchmarks.whatifs.hours import windows_of
from benchmarks.whatifs.looked import Looked, looked_at
from benchmarks.whatifs.pool import Actual, Period, Pool
from benchmarks.whatifs.row import Block
from benchmarks.whatifs.speed import kind_for, slow_notes
from benchmarks.whatifs.stack import Stack
from benchmarks.whatifs.twin import twin_for
from benchmarks.whatifs.wish import MOST_REQUESTS, Wish

LEAST_ROWS = 200
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Asked:
    """Which part of which ledger, and how long it lasts; what else is known, and what was wished."""

    path: Path
    since_unix_s: float
    lasts_s: float
    stack: Stack
    wish: Wish


def pools_in(path: Path, days: float, stack: Stack, wish: Wish) -> tuple[list[Pool], list[str]]:
    """The busiest first, and what is not in them, in words. Raises ValueError where there is nothing to reckon with."""
    since_unix_s = ledger.since_s(path, days)
    blocks = _by_model(ledger.blocks_in(path, since_unix_s), stack, wish)
    requests = {model: sum(block.requests for block in each) for model, each in blocks.items()}
    known = sorted((model for model in requests if requests[model] >= LEAST_ROWS), key=lambda model: -requests[model])
    if not known:
        raise ValueError(_too_few(path, requests, wish))
    first_s, last_s = ledger.span_in(path, since_unix_s)
    asked = Asked(path, since_unix_s, max(last_s - first_s, 1.0), stack, wish)
    found, notes = [], []
    for model in known:
        most = int(MOST_REQUESTS * requests[model] / sum(requests[each] for each in known))
        try:
            found.append(_pool(asked, model, blocks[model], most))
        except ValueError as error:
            notes.append(f"{model}: {error}")
    if not found:
        raise ValueError("\n".join(notes))
    return found, [*notes, *_notes(asked, requests, known)]


def _by_model(blocks: Sequence[Block], stack: Stack, wish: Wish) -> Mapping[str, list[Block]]:
    found: dict[str, list[Block]] = defaultdict(list)
    for block in blocks:
        model = stack.model_of(block)
        if model is not None and wish.model in {None, model}:
            found[model].append(block)
    return found


def _too_few(path: Path, requests: Mapping[str, int], wish: Wish) -> str:
    if wish.model is not None and wish.model not in requests:
        return f"{path}: no request belongs to engines of {wish.model!r}; leave --model out to see which there are"
    there = ", ".join(f"{model} {count}" for model, count in requests.items()) or "none at all"
    return (
        f"{path}: too few answered requests of engines here ({there}); {LEAST_ROWS} of one model are needed. Ask for "
        f"more --days, wait until there are more, or name {ledger.ELSE}"
    )


def _notes(asked: Asked, requests: Mapping[str, int], known: Sequence[str]) -> Iterator[str]:
    for model in sorted(requests.keys() - set(known)):
        yield f"{model}: left out, {requests[model]} requests are too few"
    unanswered = ledger.unanswered_in(asked.path, asked.since_unix_s)
    if unanswered:
        yield f"left out: {unanswered:,} requests without an answer of tokens (refused, failed, embeddings)"
    if asked.lasts_s < DAY_S:
        hours = asked.lasts_s / 3600
        yield f"the ledger shows {hours:.2g} h; a month is reckoned as if it went on like that day and night"
    yield "not simulated: budgets, prefix caches, and clouds and engines that fail"


def _pool(asked: Asked, model: str, blocks: Sequence[Block], most: int) -> Pool:
    """With at most so many requests in all cases. Raises ValueError where its cloud or its engine is not known."""
    stack, wish = asked.stack, asked.wish
    places = stack.places_of(model)
    engines = wish.engines or len(places) or len({block.target for block in blocks if block.is_local}) or 1
    requests: Counter[int] = Counter()
    for block in blocks:
        requests[block.slot] += block.requests
    looked = looked_at(asked.path, model, stack, windows_of(requests, most // len(cases_of(engines))))
    cloud, cloud_note = twin_for(model, chain.from_iterable(looked.every), stack, wish)
    kind, kind_note = kind_for(looked, places, wish)
    promise, promise_notes = _promise(blocks, stack, wish)
    prompts, answers = sum(block.prompt_tokens for block in blocks), sum(block.completion_tokens for block in blocks)
    return Pool(
        name=model,
        setting=Setting(looked.arrivals(), kind, engines, cloud, promise, wish.seed),
        weights=np.array([weight for _, weight in looked.weighted()]),
        period=Period(asked.lasts_s, requests.total(), cloud.usd(prompts, answers)),
        windows=looked.windows,
        card=wish.card or (places[0].card if places else ""),
        gpus=places[0].gpus if places and not wish.card else 1,
        actual=_actual(blocks, looked, promise),
        notes=(kind_note, *slow_notes(kind, promise.tpot_s), cloud_note, *promise_notes, *stack.shared(model)),
    )


def _promise(blocks: Sequence[Block], stack: Stack, wish: Wish) -> tuple[Promise, list[str]]:
    """That of the tier with the most requests, among those that may spill where any may."""
    requests: Counter[str] = Counter()
    for block in blocks:
        requests[block.tier] += block.requests
    tiers = stack.rules.tiers
    there = [name for name in requests if name in tiers]
    spilling = [name for name in there if tiers[name].spends]
    chosen = max(spilling or there, key=requests.__getitem__, default=None)
    if chosen is None:
        return wish.promise(), []
    asked = [word for word, given in (("times", wish.ttft_s or wish.tpot_s), ("share", wish.share)) if given]
    notes = [f"promise: that of the tier {chosen}" + (f", {' and '.join(asked)} as asked for" if asked else "")]
    if others := requests.total() - requests[chosen]:
        notes.append(f"{others:,} requests of other tiers are held to this promise too")
    if staying := sum(requests[name] for name in there if name not in spilling):
        notes.append(f"{staying:,} requests may not spill by their tier and are reckoned with as if they might")
    tier = tiers[chosen]
    return wish.promise(tier.ttft_target_s, tier.tpot_target_s, tier.promise_share), notes


def _actual(blocks: Sequence[Block], looked: Looked, promise: Promise) -> Actual:
    requests = sum(block.requests for block in blocks)
    gone = [block for block in blocks if not block.is_local]
    kept = told = seen = seen_usd = 0.0
    for row, weight in looked.weighted():
        if not row.is_local:
            seen += weight
            seen_usd += weight * row.usd
        if row.ttft_s is not None and row.tpot_s is not None:
            told += weight
            kept += weight * promise.met(row.ttft_s, row.tpot_s)
    return Actual(
        spilled_share=sum(block.requests for block in gone) / requests,
        kept_share=kept / told if told else None,
        usd=sum(block.usd for block in gone),
        seen_share=seen / requests,
        seen_usd=seen_usd,
    )
