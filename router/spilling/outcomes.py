"""What has become of those who were placed: who is where until its end, and whether its promise was kept."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from router.spilling.load import EngineLoad
from router.spilling.misses import Misses
from router.spilling.stay import Stay
from router.spilling.want import Want


class Outcomes:
    """One writer: its Sluice. Of a tier, what its promise was broken for is missed: a first token too late, or
    too long between tokens. An answer that comes whole is not judged, nor one that failed (others serve it then), nor
    what a client's own deadline asked for beyond the promise."""

    __slots__ = ("_misses", "_spilled", "_stays")

    def __init__(self, misses: Callable[[str], Misses]) -> None:
        self._misses = misses
        self._stays: dict[Hashable, tuple[Want, EngineLoad, Stay]] = {}
        self._spilled: dict[Hashable, Want] = {}

    def asked(self, want: Want) -> None:
        """It has come."""
        if want.shows_first:
            self._misses(want.tier).asked()

    def sent(self, want: Want, load: EngineLoad, stay: Stay) -> None:
        self._stays[want.key] = (want, load, stay)

    def spilled(self, want: Want) -> None:
        self._spilled[want.key] = want

    def missed(self, want: Want) -> None:
        """It is not served as promised."""
        if want.shows_first:
            self._misses(want.tier).missed()

    def began(self, key: Hashable, now_s: float) -> bool:
        """A first token. Whether it was one of an engine here."""
        want = self._spilled.pop(key, None)
        found = None if want is not None else self._stays.get(key)
        if found is not None:
            stay = found[2]
            if stay.first_s is not None or not stay.shows_first:
                return False
            want = found[0]
            found[1].began(stay, now_s)
        if want is not None and now_s > want.promised_s:
            self.missed(want)
        return found is not None

    def ended(self, key: Hashable, tokens: int | None, now_s: float) -> bool:
        """It is over; with so many tokens, where that is known. Whether it was at an engine here."""
        self._spilled.pop(key, None)
        found = self._stays.pop(key, None)
        if found is None:
            return False
        want, load, stay = found
        load.ended(stay, tokens, now_s)
        first_s = stay.first_s
        # Whose first token was late has been counted, and who was aborted is not judged.
        if first_s is None or tokens is None or first_s > want.promised_s:
            return True
        if now_s - first_s > want.tpot_s * max(tokens - 1, 1):
            self.missed(want)
        return True
