"""Why a want does not fit, by how much, and what would fit. Pure; every way named was proved by placing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from engines.gpus.cards import CARDS, declared
from engines.gpus.gpu import Gpu
from engines.memory import parallel
from engines.memory.shape import AUTO
from engines.placement.bounds import requests
from engines.placement.case import LARGE, Case, Way
from engines.placement.four_bit import four_bit
from engines.placement.needs import (
    fit_one_by_one,
    gib,
    hardware,
    least_bytes,
    needs_of,
    roomiest,
    together_words,
)
from engines.placement.partners import turn_words
from engines.placement.place import Placement, Unplaced
from engines.placement.room import rooms
from engines.placement.shapes import OLLAMA
from engines.placement.turns import on_gpus
from engines.placement.want import Rules, Want

MOST_WAYS = 5
LEAST_CONTEXT = 1024
FP8 = "fp8"
# Below this compute capability there is no arithmetic in FP8, which the KV cache would need at every step.
LEAST_FP8_KV = (8, 9)
# Cards that can be bought or rented, smallest first, for models that are too large for what is there.
LARGER = ("L40S", "H100-80GB", "H200", "B200")
COUNTS = (1, 2, 4, 8)
MOST_MORE = 8
TOTALS = (4, 8, 16)


def explained(placement: Placement, wants: Sequence[Want], gpus: Sequence[Gpu], rules: Rules) -> Placement:
    """The same placement with `needs` and `ways` of everything unplaced filled in."""
    if not placement.unplaced:
        return placement
    # What takes turns is in nobody's way: each of them is alone with those that are kept.
    lost = {each.want for each in placement.unplaced}
    wants = [want for want in wants if want.keep or want.name in lost]
    always = {want.name for want in wants if want.keep}
    everything, placement = (
        placement,
        replace(placement, placed=tuple(each for each in placement.placed if each.want in always)),
    )
    there = hardware(placement, wants, gpus, rules)
    together = together_words(wants, there, rules)
    names = {each.want for each in placement.unplaced}
    cases = [Case(want, tuple(wants), tuple(gpus), rules, placement) for want in wants if want.name in names]
    more = more_gpus(cases[0])
    said = {
        case.want.name: (
            needs_of(case.want, there, rules) + together,
            tuple(way.words for way in ways_of(case, more)),
        )
        for case in cases
    }
    unplaced = (Unplaced(each.name, each.want, *said[each.want]) for each in placement.unplaced)
    return Placement(everything.placed, tuple(unplaced))


def ways_of(case: Case, more: Sequence[Way]) -> tuple[Way, ...]:
    """At most MOST_WAYS, least invasive first: what changes neither the model nor the promise, then coarser numbers,
    then a smaller promise, then other models, then `more` GPUs. Two changes at once only where none alone is enough."""
    found = [way for search in (*_OF_THE_WANT, _turns, _replicas, _others) if (way := search(case))]
    if not found:
        found = list(_pairs(case))[:2]
    helping = (way for way in more if least_bytes(case.want, way.gpus, case.rules) is not None)
    return (*found, *helping)[:MOST_WAYS]


def _parallel(case: Case) -> Way | None:
    """Another tensor-parallel size, where the user fixed one."""
    fixed = case.want.tensor_parallel
    sizes = () if fixed is None or case.want.engine == OLLAMA else parallel.sizes(case.want.model, len(case.gpus))
    nearest = sorted(sizes, key=lambda size: (abs(size - (fixed or 0)), size))
    return _first(case, ((f"tensor parallel {size}", replace(case.want, tensor_parallel=size)) for size in nearest))


def _bounds(case: Case) -> Way | None:
    """Bounds that the user fixed, left to the plan: it knows smaller ones."""
    names = ("max_num_batched_tokens", "max_num_seqs", "kv_blocks")
    fixed = " and ".join(name for name in names if getattr(case.want, name) is not None)
    changed = replace(case.want, max_num_batched_tokens=None, max_num_seqs=None, kv_blocks=None)
    return case.tried(f"{fixed} left to the plan", changed) if fixed else None


def _kv_cache(case: Case) -> Way | None:
    changed = _fp8_kv(case)
    return None if changed is None else case.tried("FP8 KV cache", changed)


def _fp8_kv(case: Case) -> Want | None:
    allowed = all(gpu.capability is None or gpu.capability >= LEAST_FP8_KV for gpu in case.gpus)
    if case.want.engine == OLLAMA or case.want.kv_cache_dtype != AUTO or not allowed:
        return None
    return replace(case.want, kv_cache_dtype=FP8)


def _weights(case: Case) -> Way | None:
    return _first(case, _smaller_weights(case))


def _smaller_weights(case: Case) -> Iterator[tuple[str, Want]]:
    """The model with fewer bits: quantized while loading, then as another checkpoint."""
    want = case.want
    if want.engine == OLLAMA:
        return
    if want.quantization is None and want.model.quantization == "none" and want.model.weights.plain_bytes:
        changed = replace(want, quantization=FP8)
        yield f"FP8 weights ({_total(changed, case)})", changed
    if (model := four_bit(want.model)) is not None:
        changed = replace(want, model=model, quantization=None)
        yield f"AWQ 4-bit checkpoint ({_total(changed, case)})", changed


def _total(want: Want, case: Case) -> str:
    size = least_bytes(want, case.gpus, case.rules)
    return "not on these GPUs" if size is None else f"{gib(size)} GiB"


def _requests(case: Case) -> Way | None:
    """The most requests at once, or tokens of KV cache, that fit."""
    return _fewer(case, case.want, case.tried)


def _fewer(case: Case, want: Want, tried: Callable[[str, Want], Way | None], whose: str = "") -> Way | None:
    if want.kv_tokens is not None:
        numbers = [number for number in friendly(want.kv_tokens) if number >= want.context_tokens]
        return _largest(numbers, lambda number: tried(f"{whose}kv_tokens {number}", replace(want, kv_tokens=number)))
    return _largest(
        range(1, requests(want)),
        lambda number: tried(
            f"{whose}{number} request{'' if number == 1 else 's'} at once", replace(want, concurrent_requests=number)
        ),
    )


def _context(case: Case) -> Way | None:
    most = case.want.model.architecture.context_tokens
    numbers = sorted({number for number in (*friendly(case.want.context_tokens), most) if number <= most})
    numbers = [number for number in numbers if LEAST_CONTEXT <= number < case.want.context_tokens]
    return _largest(numbers, lambda number: case.tried(f"context {number}", replace(case.want, context_tokens=number)))


def friendly(most: int) -> list[int]:
    """Numbers below `most` that people choose: powers of two, and half as much again; ascending."""
    powers = [2**power for power in range(10, 24)]
    return sorted(number for power in powers for number in (power, power * 3 // 2) if number < most)


def _turns(case: Case) -> Way | None:
    """Models that need not be kept, and so stand on the same GPUs one after the other."""
    if sum(want.replicas for want in case.wants) * len(case.gpus) > LARGE:
        return None
    lost = [each.name for each in case.placement.unplaced]
    found = turn_words(case.wants, case.want.name, lost, on_gpus(case.gpus, case.rules))
    return None if found is None else Way(*found, case.gpus)


def _replicas(case: Case) -> Way | None:
    placed = sum(each.want == case.want.name for each in case.placement.placed)
    words = f"{placed} replica" + ("" if placed == 1 else "s")
    return case.tried(words, replace(case.want, replicas=placed)) if placed else None


def _others(case: Case) -> Way | None:
    """Another model with a smaller promise, or without it; those that were wanted last give way first."""
    alone = replace(case.want, replicas=1)
    if not fit_one_by_one([alone], rooms(roomiest(case.gpus, case.rules, [alone]), case.rules), case.rules):
        return None
    others = [want for want in reversed(case.wants) if want.name != case.want.name]
    for other in others:

        def tried(words: str, changed: Want, name: str = other.name) -> Way | None:
            wants = tuple(changed if want.name == name else want for want in case.wants)
            return case.proved(Way(words, wants, case.gpus))

        if _promises_more(other) and tried("", replace(other, concurrent_requests=1, kv_tokens=None)):
            return _fewer(case, other, tried, f"{other.name} with ")
    for other in others:
        rest = tuple(want for want in case.wants if want.name != other.name)
        if way := case.proved(Way(f"without {other.name}", rest, case.gpus)):
            return way
    return None


def _promises_more(want: Want) -> bool:
    """Whether there is less to promise than this want does, its context aside."""
    return requests(want) > 1 if want.kv_tokens is None else want.kv_tokens > want.context_tokens


def more_gpus(case: Case) -> tuple[Way, ...]:
    """More of the cards that are there, and larger ones: the fewest with which everything has a place. The same for
    every case of a placement."""
    whole = {gpu.name: gpu for gpu in case.gpus if gpu.parent_uuid is None}
    names = {card.name: short for short, card in CARDS.items()}
    same = [
        (f"more {names.get(gpu.name, gpu.name)}", [gpu] * count)
        for gpu in whole.values()
        for count in _counts(sum(other.name == gpu.name for other in case.gpus))
    ]
    cards = [short for short in LARGER if CARDS[short].name not in whole]
    other = [(f"x {card}", list(declared(f"{count}x{card}").seen)) for count in COUNTS for card in cards]
    return tuple(way for choices in (same, other) if (way := _first_with(case, choices)))


def _counts(there: int) -> list[int]:
    """How many more of a card to try: one, two, four, and what makes a number that models can be divided by."""
    return sorted({1, 2, 4, *(total - there for total in TOTALS if 0 < total - there <= MOST_MORE)})


def _first_with(case: Case, choices: Sequence[tuple[str, Sequence[Gpu]]]) -> Way | None:
    for words, gpus in choices:
        new = [replace(gpu, uuid=f"more-{number}", links=(), used_bytes=0) for number, gpu in enumerate(gpus)]
        new = [replace(gpu, free_bytes=gpu.cuda_bytes, processes=None) for gpu in new]
        if way := case.with_more(f"{len(new)} {words}", tuple(new)):
            return way
    return None


def _pairs(case: Case) -> Iterator[Way]:
    """Smaller weights together with a smaller cache, one way for each kind of weights."""
    for words, smaller in _smaller_weights(case):
        changed = replace(case, want=smaller)
        for search in (_kv_cache, _requests, _context):
            if way := search(changed):
                yield replace(way, words=f"{words} and {way.words}")
                break


def _first(case: Case, choices: Iterator[tuple[str, Want]]) -> Way | None:
    return next((way for words, want in choices if (way := case.tried(words, want))), None)


def _largest(numbers: Sequence[int], tried: Callable[[int], Way | None]) -> Way | None:
    """The way of the largest of these ascending numbers that fits, by bisection: what fits, fits with less too."""
    best, low, high = None, 0, len(numbers)
    while low < high:
        middle = (low + high) // 2
        if way := tried(numbers[middle]):
            best, low = way, middle + 1
        else:
            high = middle
    return best


_OF_THE_WANT = (_parallel, _bounds, _kv_cache, _weights, _requests, _context)
