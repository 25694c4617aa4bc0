"""Who bears a name in the crew, and what is called how while it changes hands."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain, count

from engines.crew.member import Member


@dataclass(slots=True)
class Place:
    """One name: the engine that bears it, and the one that is to take it over once it serves."""

    current: Member | None = None
    coming: Member | None = None

    def members(self) -> Iterator[Member]:
        yield from (each for each in (self.current, self.coming) if each)

    @property
    def is_awaited(self) -> bool:
        """Whether another engine of this name is on its way."""
        return self.coming is not None or self.current is None


def free_name(name: str, taken: Collection[str]) -> str:
    """For an engine that leaves: its own, or one that says that another has it now."""
    names = chain([name, f"{name}~old"], (f"{name}~old{number}" for number in count(2)))
    return next(each for each in names if each not in taken)
