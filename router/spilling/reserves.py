"""How much each sequence of one engine has gained on its promised time per token, and who cannot bear a stall.

All get one token a step, so what they gain is the same for all of them at all times, and what differs stays the same
for good: what the promise allows for the steps before its first token, less that token's moment. A heap of that keeps
the poorest on top.
"""

from __future__ import annotations

from heapq import heapify, heappush

from router.spilling.stay import Stay

# A heap with more than so many that have ended, for each that has not, is cleared of them.
DEAD_EACH, DEAD_ALWAYS = 2, 16


class Reserves:
    """One writer: its EngineLoad. `tpot_s` is the promise."""

    __slots__ = ("_heap", "_number", "tpot_s")

    def __init__(self, tpot_s: float) -> None:
        self.tpot_s = tpot_s
        self._number = 0
        self._heap: list[tuple[float, int, Stay]] = []

    def add(self, stay: Stay, steps: float) -> None:
        """Its first token has come at this count of steps."""
        self._number += 1
        stay.debt_s = self.tpot_s * steps - (stay.first_s or 0.0)
        heappush(self._heap, (-stay.debt_s, self._number, stay))

    def promise(self, tpot_s: float) -> None:
        """Another promise from now on, as if it had always been that."""
        if tpot_s != self.tpot_s:
            self.tpot_s = tpot_s
            alive, self._heap = [each[2] for each in self._heap if not each[2].ended], []
            for stay in alive:
                self.add(stay, stay.start + 1.0)

    def forget(self, alive: int) -> None:
        """One more has ended. They are thrown out when they are many, so that each costs the same on average."""
        if len(self._heap) > alive * DEAD_EACH + DEAD_ALWAYS:
            self._heap = [each for each in self._heap if not each[2].ended]
            heapify(self._heap)

    def beyond(self, at_s: float, steps: float) -> list[tuple[Stay, float]]:
        """Who would be beyond its promise at that moment and count of steps, and by how many seconds."""
        heap = self._heap
        gained_s = self.tpot_s * steps - at_s
        found: list[tuple[Stay, float]] = []
        look = [0] if heap else []
        while look:
            at = look.pop()
            key, _, stay = heap[at]
            behind_s = -key - gained_s
            if behind_s <= 0:
                # Below it in the heap nobody is poorer.
                continue
            if not stay.ended:
                found.append((stay, behind_s))
            look += [child for child in (2 * at + 1, 2 * at + 2) if child < len(heap)]
        return found
