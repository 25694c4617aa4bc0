"""The three ways of the same load: all of it at home, all of it in the cloud, and as its tiers would have it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from benchmarks.workload.arrival import Arrival, Prompt

CLOUD = "cloud"


class Way(StrEnum):
    """Where requests may run. Values are names for people."""

    LOCAL = "local only"
    CLOUD = "all cloud"
    HYBRID = "hybrid"


@dataclass(frozen=True, slots=True)
class Pass:
    """One of the three. `cloud_tier` is the tier that prefers the cloud. `mark` tells its prompts from the others', for
    prompts that would be the same in each; 0 where other words are asked in each pass anyway."""

    way: Way
    cloud_tier: str
    mark: int = 0

    def of(self, arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
        """The same requests at the same times, sent this way."""
        return (self.sent(arrival) for arrival in arrivals)

    def sent(self, arrival: Arrival) -> Arrival:
        """One request, sent this way.

        All cloud is what it would be without hardware of one's own: local-only requests go there as well.
        """
        if self.mark:
            arrival = replace(arrival, prompt=_marked(arrival.prompt, self.mark))
        match self.way:
            case Way.LOCAL:
                return replace(arrival, local_only=True)
            case Way.CLOUD:
                return replace(arrival, local_only=False, tier=self.cloud_tier)
        return arrival


def passes_with(cloud_tier: str, *, marked: bool) -> tuple[Pass, ...]:
    """Local only, all cloud, hybrid."""
    return tuple(Pass(way, cloud_tier, mark if marked else 0) for mark, way in enumerate(Way, 1))


def cloud_tier_in(tiers: Sequence[Mapping[str, Any]]) -> str:
    """The first tier of `/spillway/status` that prefers the cloud. Raises ValueError when none does."""
    for tier in tiers:
        if str(tier["order"][0]).split("/")[0] == CLOUD:
            return str(tier["name"])
    there = ", ".join(str(tier["name"]) for tier in tiers)
    raise ValueError(f'no tier prefers the cloud (there are {there}): give one an order that begins with "cloud"')


def _marked(prompt: Prompt, mark: int) -> Prompt:
    """With another beginning, so that no pass finds the prefixes of the pass before in the engine's cache.

    Prefixes that are shared inside a pass stay shared. A text grows by a token or two, the same in each pass; its
    length is then not known beforehand any more.
    """
    if isinstance(prompt.content, str):
        return Prompt(f"{mark} {prompt.content}")
    if not prompt.content:
        return prompt
    first = prompt.content[0]
    # Downwards where there is room, so that no id lies beyond the vocabulary.
    return replace(prompt, content=(first - mark if first >= mark else first + mark, *prompt.content[1:]))
