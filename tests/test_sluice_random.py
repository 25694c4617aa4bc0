"""Whatever comes, in whatever order: everybody is placed once, nobody is refused who may spill, nothing is left."""

from __future__ import annotations

import random

import pytest

from router.spilling.want import Why
from tests.sluiced import Line, engine


class Storm:
    """Requests of all kinds, engines that come and go, and ends that mean nothing to what was foreseen."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.line = Line(loads={"a": engine(), "b": engine(None, 3)})
        self.at_s = 0.0
        self.asked: dict[int, bool] = {}
        self.placed: dict[int, list[Why]] = {}
        self.running: dict[int, bool] = {}

    def ask(self) -> None:
        chance, key = self.chance, len(self.asked)
        self.asked[key] = may_spill = chance.random() < 0.6
        want = self.line.want(
            key,
            self.at_s,
            chance.randint(1, 3000),
            may_spill=may_spill,
            tier=chance.choice(["chat", "bulk"]),
            ttft_s=chance.choice([0.5, 2.0, 30.0]),
            engines=chance.choice([(), (), ("a",), ("b", "a"), ("c",)]),
            keeps_order=chance.random() < 0.3,
            cached=chance.choice([{}, {"a": 1}]),
            latest_s=self.at_s + chance.choice([1.0, 100.0, float("inf")]),
            patience_s=chance.choice([0.0, 3.0, 40.0]),
            shows_first=chance.random() < 0.7,
        )
        expected = self.line.sluice.expect(want, self.at_s)
        assert may_spill or expected.engine is not None or expected.why is Why.REFUSED or expected.why is Why.LATE
        self.line.sluice.arrive(want, self.at_s)

    def decide(self) -> None:
        for each in self.line.sluice.decide(self.at_s):
            assert isinstance(each.want.key, int)
            assert (each.engine is None) == (each.stay is None)
            assert each.engine is None or not each.want.engines or each.engine in each.want.engines
            self.placed.setdefault(each.want.key, []).append(each.why)
            if each.why is not Why.REFUSED:
                self.running[each.want.key] = False

    def step(self) -> None:
        chance, sluice = self.chance, self.line.sluice
        self.at_s += chance.expovariate(20.0)
        event = chance.random()
        if event < 0.4:
            self.ask()
        elif event < 0.9 and self.running:
            key = chance.choice(list(self.running))
            if self.running[key] or chance.random() < 0.1:
                sluice.ended(key, chance.choice([None, 1, 500]), self.at_s)
                del self.running[key]
            else:
                sluice.began(key, self.at_s)
                self.running[key] = True
        elif event < 0.93:
            sluice.beside(chance.choice([0, 5000]), chance.choice([0, 4]))
        elif event < 0.95:
            sluice.stand(chance.choice([self.line.loads, {}, {"b": self.line.loads["b"]}, {"c": engine()}]))
        self.decide()

    def calm(self) -> None:
        """Nobody comes any more, and all that run end."""
        sluice = self.line.sluice
        sluice.stand(self.line.loads)
        while sluice.waiting or self.running:
            self.at_s += 0.1
            for key in list(self.running):
                sluice.ended(key, 3, self.at_s)
                del self.running[key]
            self.decide()
            assert self.at_s < 1000.0


@pytest.mark.parametrize("seed", range(4))
def test_everybody_is_placed_once_and_nobody_is_refused_who_may_spill(seed: int) -> None:
    storm = Storm(seed)
    for _ in range(1500):
        storm.step()
    storm.calm()
    assert sorted(storm.placed) == sorted(storm.asked)
    assert all(len(words) == 1 for words in storm.placed.values())
    refused = [key for key, words in storm.placed.items() if words == [Why.REFUSED]]
    assert refused
    assert not any(storm.asked[key] for key in refused)
    assert {word for words in storm.placed.values() for word in words} >= {Why.FITS, Why.DEADLINE, Why.LATE}
    for load in storm.line.loads.values():
        standing = load.standing(storm.at_s)
        assert (standing.requests, standing.kv_tokens, standing.unread_tokens) == (0, 0.0, 0.0)
    assert storm.line.sluice.line_tokens == 0
