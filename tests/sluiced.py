"""A sluice before engines that do nothing by themselves, and what it has decided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Any

from router.registry import Price
from router.spilling.lengths import Kind, Lengths
from router.spilling.load import EngineLoad
from router.spilling.misses import AHEAD, BEGUN, Misses
from router.spilling.sample import Sample
from router.spilling.sluice import Sluice
from router.spilling.speeds import Speeds, Tempo
from router.spilling.want import Placed, Want

PRICE = Price(0.15, 0.60)
TEMPO = Tempo.given(prefill_tokens_per_s=10_000.0, stream_tokens_per_s=50.0)
KV_TOKENS = 10_000


def lengths_of(tokens: int) -> Sample:
    """Answers that are all about that long."""
    lengths, kind = Lengths(), Kind()
    for _ in range(200):
        lengths.learn(kind, tokens)
    return lengths.sample(kind)


ANSWERS = lengths_of(100)


def settled(share: float = 0.99) -> Misses:
    """So many have come, and none was missed, that the care of the beginning is over."""
    misses = Misses(share)
    for _ in range(int(BEGUN * AHEAD)):
        misses.asked()
    return misses


def warm(load: EngineLoad) -> EngineLoad:
    """It has served enough to be given all that it takes."""
    for number in range(load.most_sequences // 2):
        stay = load.sent(1, -100.0 + number * 0.1)
        load.began(stay, -99.99 + number * 0.1)
        load.ended(stay, None, -99.98 + number * 0.1)
    return load


def engine(kv_tokens: int | None = KV_TOKENS, most_sequences: int = 256) -> EngineLoad:
    return warm(EngineLoad(Speeds(TEMPO), kv_tokens, most_sequences=most_sequences, now_s=-101.0))


class Line:
    """`engines`: so many, by number; or these. `misses`: of a tier, at first."""

    def __init__(
        self,
        engines: int = 1,
        loads: dict[Hashable, EngineLoad] | None = None,
        misses: Callable[[], Misses] = settled,
    ) -> None:
        self.misses: dict[str, Misses] = defaultdict(misses)
        self.loads: dict[Hashable, EngineLoad] = loads or {number: engine() for number in range(engines)}
        self.sluice = Sluice(self.misses.__getitem__)
        self.sluice.stand(self.loads)
        self.placed: dict[object, Placed] = {}

    def want(
        self,
        key: object,
        at_s: float,
        prompt_tokens: int,
        *,
        may_spill: bool = True,
        price: Price | None = PRICE,
        **more: Any,
    ) -> Want:
        price = price if may_spill else None
        worth = self.sluice.worth(prompt_tokens, ANSWERS, price)
        promise = {"ttft_s": 2.0, "tpot_s": 0.1} | more
        return Want(key, at_s, prompt_tokens, lengths=ANSWERS, worth=worth, price=price, **promise)

    def ask(self, key: object, at_s: float, prompt_tokens: int, **more: Any) -> Placed | None:
        """What has become of it at once."""
        self.sluice.arrive(self.want(key, at_s, prompt_tokens, **more), at_s)
        return self.look(at_s).get(key)

    def look(self, at_s: float) -> dict[object, Placed]:
        self.placed |= {each.want.key: each for each in self.sluice.decide(at_s)}
        return self.placed

    def begun(self, key: object, at_s: float) -> None:
        self.sluice.began(key, at_s)
        self.look(at_s)


def filled(**more: Any) -> Line:
    """One engine that nine requests of a thousand tokens fill, by 1.8 s."""
    line = Line()
    for number in range(9):
        at_s = number * 0.2
        assert line.ask(number, at_s, 1000, **more) is not None
        line.begun(number, at_s + 0.15)
    return line
