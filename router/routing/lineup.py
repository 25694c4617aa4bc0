"""The targets of a Decision, the best first, each worked out when somebody looks so far: mostly nobody looks past the
first one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import overload

from router.routing.fleet import Target


class Lineup(Sequence[Target]):
    """Reads as the tuple of `first` and all that `rest` yields, which must be the same whenever it is asked.

    Not thread-safe: it belongs to one event loop.
    """

    __slots__ = ("_known", "_rest")

    def __init__(self, first: Target, rest: Iterator[Target]) -> None:
        self._known = [first]
        self._rest = rest

    def __repr__(self) -> str:
        return f"<Lineup {', '.join([target.name for target in self])}>"

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        return len(self._all())

    @overload
    def __getitem__(self, at: int) -> Target: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Target]: ...
    def __getitem__(self, at: int | slice) -> Target | Sequence[Target]:
        if isinstance(at, int) and at >= 0:
            known = self._known
            if at >= len(known):
                known.extend(islice(self._rest, at + 1 - len(known)))
            return known[at]
        return self._all()[at]

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Lineup | tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def _all(self) -> list[Target]:
        self._known.extend(self._rest)
        return self._known
