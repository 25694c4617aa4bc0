"""A moment of a run whose lengths are known, as foresight goes through them; to be copied and gone on with. Values."""

from __future__ import annotations

from dataclasses import dataclass, field

HERE, ABROAD, LATE = 0, 1, 2


class Lane:
    """One engine: `runs` are (finishing step, kv less steps, first token, number) of who decodes, soonest first.

    The engine plans a step while the one before runs: who comes later than `before_s`, where that one began, must wait
    one more, and `leaving` tokens of KV are not given back yet. `is_news`: something of this may be over in a step.
    """

    __slots__ = ("before_s", "clock_s", "held", "is_news", "kv", "leaving", "prompts", "runs", "steps", "unprefilled")

    def __init__(self) -> None:
        self.clock_s = self.before_s = 0.0
        self.is_news = False
        self.steps = self.kv = self.held = self.unprefilled = self.leaving = 0
        self.runs: list[tuple[int, int, float, int]] = []
        self.prompts: list[tuple[int, int]] = []

    def copied(self) -> Lane:
        """One that goes its own way from here."""
        lane = Lane()
        lane.clock_s, lane.steps, lane.kv, lane.held = self.clock_s, self.steps, self.kv, self.held
        lane.unprefilled, lane.runs, lane.prompts = self.unprefilled, self.runs[:], self.prompts[:]
        lane.before_s, lane.is_news, lane.leaving = self.before_s, self.is_news, self.leaving
        return lane


@dataclass(slots=True)
class Moment:
    """Of a run. `queue` is in the order in which they are let in; `usd` and `missed` are of what happened so far."""

    lanes: list[Lane]
    queue: list[tuple[float, int]] = field(default_factory=list)
    next: int = 0
    usd: float = 0.0
    missed: int = 0

    def copied(self) -> Moment:
        """One that goes its own way from here."""
        return Moment([lane.copied() for lane in self.lanes], self.queue[:], self.next, self.usd, self.missed)


class Choices:
    """What may be chosen of each request: its place, by how much its turn is moved, how long it lets others by."""

    __slots__ = ("patience_s", "places", "shift_s")

    def __init__(self, count: int) -> None:
        self.places = bytearray(count)
        self.shift_s = [0.0] * count
        self.patience_s = [1.0] * count
