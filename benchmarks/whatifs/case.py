"""What could be otherwise: other engines, or another promise. Pure."""

from __future__ import annotations

from dataclasses import dataclass

FACTORS = (0.5, 1.5, 2.0)


@dataclass(frozen=True, slots=True)
class Case:
    """So many engines more, or fewer; the promised time to the first token times so much."""

    more: int = 0
    factor: float = 1.0


NOW = Case()


def cases_of(engines: int) -> list[Case]:
    """How it is now, then fewer and more engines, then shorter and longer promises."""
    more = {-1, 1, 2}
    # Half of one engine is none, and twice one is one more.
    more |= {engines // 2 - engines, engines} if engines > 1 else set()
    return [NOW, *(Case(each) for each in sorted(more)), *(Case(factor=factor) for factor in FACTORS)]
