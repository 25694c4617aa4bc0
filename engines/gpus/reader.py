"""Reads all GPUs again and again through a driver's door: what is asked once, what anew, and which card is at fault.

Knows nothing of NVML; `engines.gpus.nvml` is the door that it is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from engines.gpus import faults
from engines.gpus.gpu import Gpu, Gpus, Health, Link, Lost


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU as the driver's door holds it. `gpu` has what does not change; its bytes and health say nothing."""

    handle: Any
    gpu: Gpu


class Driver(Protocol):
    """A driver's door. Every method but `close` and `links` raises `faults.DriverError`."""

    def open(self) -> tuple[str | None, str | None]:
        """Begin a session. The versions of the driver and of CUDA."""

    def close(self) -> None:
        """End the session."""

    def count(self) -> int:
        """How many cards there are, with those that do not answer."""

    def card(self, number: int) -> Card:
        """What does not change of one card, in PCI order; all but its links."""

    def links(self, cards: Sequence[Card]) -> Mapping[str, tuple[Link, ...]]:
        """From each card's UUID to the others."""

    def instances(self, card: Card) -> Sequence[Card] | None:
        """The MIG instances of a card, or None for one that is not in that mode."""

    def health(self, card: Card) -> Health:
        """How a whole card fares."""

    def read(self, card: Card, health: Health) -> Gpu:
        """A card or an instance with its memory and processes now."""


class GpuReader:
    """Everything of all GPUs, now. Not for two threads at once; close it after use.

    The session stays open between reads, except after a fault: an open session keeps a card from being reset, and only
    a new one sees the card that comes back.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._is_open = False
        self._versions: tuple[str | None, str | None] = (None, None)
        self._cards: dict[int, Card] = {}
        self._labels: dict[int, str] = {}
        # What a card showed when it answered last, and why it does not now.
        self._shown: dict[int, tuple[Gpu, ...]] = {}
        self._silent: dict[int, str] = {}

    def read(self) -> Gpus:
        """Never fails: a driver or a card that does is told of."""
        try:
            if not self._is_open:
                self._versions = self._driver.open()
                self._is_open = True
            troubles: list[str] = []
            self._silent = {}
            self._find(self._driver.count(), troubles)
            seen = [gpu for number in sorted(self._cards) for gpu in self._read(number, troubles)]
        except faults.DriverError as error:
            self.close()
            return Gpus((), faults.of_driver(error), *self._versions, is_down=True)
        if troubles:
            self.close()
        if any(gpu.reserved_bytes is None and gpu.parent_uuid is None for gpu in seen):
            troubles.append(faults.no_reserve(self._versions[0]))
        why_none = None if seen else _why_none(troubles)
        return Gpus(tuple(seen), why_none, *self._versions, tuple(troubles), self._lost())

    def close(self) -> None:
        """End the session; the next `read` begins another."""
        self._cards = {}
        if self._is_open:
            self._is_open = False
            self._driver.close()

    def _find(self, count: int, troubles: list[str]) -> None:
        """Look at the cards that are not known, and at all links when there is a new one."""
        if any(number >= count for number in self._cards):
            # Numbers have moved.
            self._cards, self._shown = {}, {}
        new = [number for number in range(count) if number not in self._cards]
        for number in new:
            try:
                card = self._driver.card(number)
            except faults.DriverError as error:
                troubles.append(self._trouble(number, error))
            else:
                self._cards[number] = card
                self._labels[number] = f"GPU {number} ({card.gpu.name}, {card.gpu.uuid})"
        if new and self._cards:
            links = self._driver.links(list(self._cards.values()))
            self._cards = {
                number: replace(card, gpu=replace(card.gpu, links=links[card.gpu.uuid]))
                for number, card in self._cards.items()
            }

    def _read(self, number: int, troubles: list[str]) -> Sequence[Gpu]:
        card = self._cards[number]
        try:
            health = self._driver.health(card)
            instances = self._driver.instances(card)
            found = [self._driver.read(each, health) for each in ([card] if instances is None else instances)]
        except faults.DriverError as error:
            troubles.append(self._trouble(number, error))
            return ()
        if not found:
            troubles.append(faults.no_instances(self._labels[number]))
        if why := faults.of_health(self._labels[number], health):
            troubles.append(why)
        self._shown[number] = tuple(found)
        return found

    def _lost(self) -> tuple[Lost, ...]:
        return tuple(Lost(gpu, why) for number, why in self._silent.items() for gpu in self._shown.get(number, ()))

    def _trouble(self, number: int, error: faults.DriverError) -> str:
        self._silent[number] = faults.what(error)
        return faults.of_gpu(self._labels.get(number, f"GPU {number}"), error)


def _why_none(troubles: Sequence[str]) -> str:
    return f"no GPU can be used: {'; '.join(troubles)}" if troubles else faults.NO_GPU
