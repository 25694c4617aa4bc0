"""Which targets were sent which prompts last, and so may hold the beginning of the next one in their prefix cache.

One writer (`router.watch`), which says what was sent where; the scorer of affinity only reads. A guess: nobody hears of
what an engine has thrown out of its cache, and a wrong guess costs what no guess would have cost.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from router.prefixes import prefix_bytes

# So many beginnings of prompts are known; the one that nobody has sent for longest goes first. Some 6 MB.
MOST_KNOWN = 32_768
# A beginning that many prompts share is soon in the cache of several targets.
MOST_HOMES = 4


class Affinity:
    """Bounded, least recently used first out. Prefixes are those of `Ask.prefixes`, targets are named."""

    __slots__ = ("_homes", "_most")

    def __init__(self, most: int = MOST_KNOWN) -> None:
        self._homes: OrderedDict[int, tuple[str, ...]] = OrderedDict()
        self._most = most

    def __len__(self) -> int:
        return len(self._homes)

    def __contains__(self, prefix: int) -> bool:
        return prefix in self._homes

    def seen(self, prefixes: Sequence[int], target: str) -> None:
        """A prompt with these prefixes was sent to `target`."""
        homes = self._homes
        for prefix in prefixes:
            known = homes.get(prefix)
            if known is None:
                homes[prefix] = (target,)
            else:
                homes.move_to_end(prefix)
                if known[0] != target:
                    homes[prefix] = (target, *[each for each in known if each != target][: MOST_HOMES - 1])
        while len(homes) > self._most:
            homes.popitem(last=False)

    def about(self, prefixes: Sequence[int]) -> Affinity:
        """All that is known of such a prompt now, whatever is seen later."""
        homes, only = self._homes, Affinity(self._most)
        only._homes.update({prefix: homes[prefix] for prefix in prefixes if prefix in homes})
        return only

    def held(self, prefixes: Sequence[int]) -> dict[str, int]:
        """How many bytes of such a prompt each target has read before; who is not in it has read none."""
        homes, held = self._homes, dict[str, int]()
        for prefix in reversed(prefixes):
            for target in homes.get(prefix, ()):
                if target not in held:
                    held[target] = prefix_bytes(prefix)
        return held

    def home(self, prefixes: Sequence[int]) -> tuple[str | None, int]:
        """The target that has read most of such a prompt, the newest of several, and how many bytes."""
        for prefix in reversed(prefixes):
            if known := self._homes.get(prefix):
                return known[0], prefix_bytes(prefix)
        return None, 0
