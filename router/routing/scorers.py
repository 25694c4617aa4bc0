"""How much worse is one target than another? One small pure function for each strategy, combined by weights.

To add a strategy: its name in `tables.strategy`, its function here, its entry in SCORERS, its table of cases in
tests/test_scorers.py. Nothing else knows of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from zlib import crc32

import msgspec

from router.ask import BYTES_PER_TOKEN, Ask
from router.prefixes import prefix_bytes
from router.routing.affinity import Affinity
from router.routing.fleet import Place, Target
from router.tables.strategy import Strategy, Weights

# Tokens in flight by which a target must lead an idle one to count as half as bad as can be: some ten usual requests.
HALF_BUSY_TOKENS = 16_384
# A target that nobody has measured yet is tried by so many requests at once, and then it waits for their figures.
TRIALS = 2
# Each so many decisions the target with the fewest answers counts as the fastest, so that old figures can be mended.
TURNS_A_TRIAL = 50
# The prefix cache spares a shorter prompt next to nothing: some two hundred tokens.
LEAST_BYTES = 1024
# The golden ratio's multiples, modulo 1, hit each stretch of [0, 1) as often as it is long, evenly spread in time
# (Weyl's equidistribution theorem; the three-distance theorem).
GOLDEN = (math.sqrt(5) - 1) / 2
PRIME = (1 << 61) - 1
# Members of an enumeration are slow to look up in it.
LOCAL = Place.LOCAL


class Scene(msgspec.Struct, frozen=True):
    """What scorers need besides the Ask and the targets: how many decisions were made before this one among the same
    targets, and who has read what before."""

    turn: int = 0
    affinity: Affinity = msgspec.field(default_factory=Affinity)


# One figure for each target, in the same order, from 0 (best) to 1 (worst).
Scorer = Callable[[Ask, Sequence[Target], Scene], Sequence[float]]


def score(weights: Weights, ask: Ask, targets: Sequence[Target], scene: Scene) -> Sequence[float]:
    """The sum of the figures by their weights, for each target; lower is better. No weights are least busy alone.

    Whether a target keeps the promise is no figure: who does not qualifies for nothing (`router.routing.ranking`).
    """
    sums: Sequence[float] = ()
    for strategy, weight in (weights or LEAST_BUSY_ALONE).items():
        figures = SCORERS[strategy](ask, targets, scene)
        if sums:
            sums = [total + weight * figure for total, figure in zip(sums, figures, strict=True)]
        else:
            sums = figures if weight == 1 else [weight * figure for figure in figures]
    return sums


def least_busy(_ask: Ask, targets: Sequence[Target], _scene: Scene) -> Sequence[float]:
    """By the tokens in flight there, for what it can do while it is slowed down."""
    return _above_least([target.in_flight.promised_tokens / target.weight for target in targets], HALF_BUSY_TOKENS)


def least_latency(ask: Ask, targets: Sequence[Target], scene: Scene) -> Sequence[float]:
    """By the median time to first token and between tokens, for an answer of the usual length; twice is 0.5.

    Who has not been measured counts as twice as fast as the best while it is being tried, and as the worst from then
    on. So does, now and then, whoever has the fewest answers.
    """
    waits, tried_s = _waits_s(targets, _answer_tokens(ask, targets))
    if scene.turn % TURNS_A_TRIAL == TURNS_A_TRIAL - 1:
        waits[_least_measured(targets)] = tried_s
    return _above_least(waits)


def cheapest(ask: Ask, targets: Sequence[Target], _scene: Scene) -> Sequence[float]:
    """By what the same tokens cost there; twice the least is 0.5. Beside one that is free all others are 1."""
    prompt_tokens, answer_tokens = ask.prompt_bytes / BYTES_PER_TOKEN, _answer_tokens(ask, targets) * ask.answers
    return _above_least([_usd(target, prompt_tokens, answer_tokens) for target in targets])


def free_quota(_ask: Ask, targets: Sequence[Target], _scene: Scene) -> Sequence[float]:
    """What costs nothing first, and of it what has most of its quota left; all that is paid is 1."""
    return [(1.0 - target.room.left_share) / 2 if _is_free(target) else 1.0 for target in targets]


def round_robin(_ask: Ask, targets: Sequence[Target], scene: Scene) -> Sequence[float]:
    """Each in its turn; the others in the order in which theirs comes."""
    count = len(targets)
    return [(place - scene.turn) % count / count for place in range(count)]


def weighted(_ask: Ask, targets: Sequence[Target], scene: Scene) -> Sequence[float]:
    """Each as often as its preference says; the others in the order in which they follow it."""
    shares = [target.preference * target.weight for target in targets]
    whole = sum(shares)
    point = scene.turn * GOLDEN % 1.0 * whole
    figures = []
    for share in shares:
        # `point` is where this turn falls, counted from where this target's stretch begins.
        figures.append(0.0 if 0.0 <= point < share else -point % whole / whole)
        point -= share
    return figures


def affinity(ask: Ask, targets: Sequence[Target], scene: Scene) -> Sequence[float]:
    """By how much of the prompt is new to it: 0 for nothing, 1 for all; what is short saves little wherever it goes."""
    if not ask.prefixes:
        return [1.0] * len(targets)
    held = scene.affinity.held(ask.prefixes)
    whole = prefix_bytes(ask.prefixes[-1])
    conversation = ask.prefixes[0]
    if conversation not in scene.affinity:
        # Another worker, or this one before it was started again, may have sent it where its name points to.
        likely = _drawn(conversation, targets).name
        held[likely] = max(held.get(likely, 0), whole // 2)
    worth_while = max(whole, LEAST_BYTES)
    figures = [1.0] * len(targets)
    # Most have read nothing of it.
    for at in [at for at, target in enumerate(targets) if target.name in held]:
        figures[at] -= held[targets[at].name] / worth_while
    return figures


SCORERS: Mapping[Strategy, Scorer] = MappingProxyType(
    {
        Strategy.LEAST_BUSY: least_busy,
        Strategy.LEAST_LATENCY: least_latency,
        Strategy.CHEAPEST: cheapest,
        Strategy.FREE_QUOTA: free_quota,
        Strategy.ROUND_ROBIN: round_robin,
        Strategy.WEIGHTED: weighted,
        Strategy.AFFINITY: affinity,
    }
)
LEAST_BUSY_ALONE: Weights = {Strategy.LEAST_BUSY: 1.0}


def _above_least(values: Sequence[float], half: float = 0.0) -> Sequence[float]:
    """How far each lies above the least of them: 0 for that, 0.5 for twice as much and `half`, 1 for infinity."""
    least = min(values)
    best = least + half
    if 0 < best < math.inf:
        # The same, without asking each: none is 0, and the least of them gives 0.
        return [1.0 - best / (value + half) for value in values]
    return [0.0 if value == least else 1.0 - best / (value + half) for value in values]


def _answer_tokens(ask: Ask, targets: Sequence[Target]) -> float:
    """One length for all of them, so that who answers at length there now is not compared with who does not."""
    usual = sum([target.pace.answer_tokens for target in targets]) / len(targets)
    return min(usual, ask.max_tokens) if ask.max_tokens else usual


def _waits_s(targets: Sequence[Target], answer_tokens: float) -> tuple[list[float], float]:
    """For a whole answer of each, and what is taken for one that is being tried.

    Of answers that all came whole only the time between tokens is known.
    """
    found = [
        pace.ttft_p50_s if pace.tpot_p50_s is None else (pace.ttft_p50_s or 0.0) + pace.tpot_p50_s * answer_tokens
        for pace in [target.pace for target in targets]
    ]
    known = [latency_s for latency_s in found if latency_s is not None]
    tried_s = min(known, default=0.0) / 2
    if len(known) == len(found):
        return known, tried_s
    waits = [
        latency_s if latency_s is not None else tried_s if target.in_flight.requests < TRIALS else math.inf
        for target, latency_s in zip(targets, found, strict=True)
    ]
    return waits, tried_s


def _least_measured(targets: Sequence[Target]) -> int:
    return min(range(len(targets)), key=lambda place: targets[place].pace.answers)


def _drawn(conversation: int, targets: Sequence[Target]) -> Target:
    """Highest random weight (Thaler and Ravishankar 1998): all processes draw alike, and when a target comes or goes
    only its own conversations move. Squared, because a checksum alone would keep the names in one order."""
    draws = [(conversation + _checksum(target.name)) ** 2 % PRIME for target in targets]
    return targets[draws.index(max(draws))]


@lru_cache(maxsize=4096)
def _checksum(name: str) -> int:
    """Kept, because it is the same for each conversation."""
    return crc32(name.encode())


def _usd(target: Target, prompt_tokens: float, answer_tokens: float) -> float:
    """Infinite where the price is unknown: nobody is sent there because it may be cheap."""
    if _is_free(target):
        return 0.0
    return math.inf if target.price is None else target.price.usd(prompt_tokens, answer_tokens)


def _is_free(target: Target) -> bool:
    """A quota that is used up for now is not free: what is sent there waits or is paid."""
    return target.place is LOCAL or (target.room.is_free and target.room.ready_in_s <= 0)
