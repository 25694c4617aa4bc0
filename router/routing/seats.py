"""Where in a Fleet the targets of a model stand: found once for each configuration, and looked up by each decision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec

# Takes those out of all targets that stand at certain places.
Pick = Callable[[Sequence[Any]], Sequence[Any]]


class Seats(msgspec.Struct, frozen=True):
    """Of one model: its engines, its clouds."""

    engines: Pick
    clouds: Pick


def seats_of(targets: Iterable[tuple[bool, Iterable[str]]]) -> Mapping[str | None, Seats]:
    """By model, of targets that are told as (whether it is an engine, its models); None: any model."""
    found: dict[str | None, tuple[list[int], list[int]]] = {None: ([], [])}
    for at, (is_engine, models) in enumerate(targets):
        for model in (None, *models):
            found.setdefault(model, ([], []))[0 if is_engine else 1].append(at)
    return {model: Seats(_pick(engines), _pick(clouds)) for model, (engines, clouds) in found.items()}


def _pick(places: Sequence[int]) -> Pick:
    """An itemgetter is several times as fast as a loop, but for one place it gives no sequence."""
    if len(places) > 1:
        return itemgetter(*places)
    return itemgetter(slice(places[0], places[0] + 1) if places else slice(0))
