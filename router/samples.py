"""Streams whose tokens are counted now and then, one of each engine: there each answer gets a token a step, so one says
how far all have come."""

from __future__ import annotations

from collections.abc import Collection

from router.flight import Flight


class Samples:
    """Belongs to `router.watch`."""

    def __init__(self) -> None:
        self._by_key: dict[str, Flight] = {}

    def began(self, flight: Flight) -> None:
        """Its first token has come. It is counted if no other of its engine is."""
        if flight.streams and flight.aboard.load is not None and flight.aboard.answers == 1:
            known = self._by_key.get(flight.account.key)
            if known is None or known.ended:
                self._by_key[flight.account.key] = flight

    def stand(self, keys: Collection[str]) -> None:
        """The targets from now on."""
        self._by_key = {key: flight for key, flight in self._by_key.items() if key in keys}

    def count(self, now_s: float) -> None:
        """Tell each load how far its sample has come."""
        for flight in self._by_key.values():
            load, stay, reading = flight.aboard.load, flight.aboard.stay, flight.reading
            if load is not None and stay is not None and reading is not None and not flight.ended:
                load.counted(stay, reading.spoken, now_s)
