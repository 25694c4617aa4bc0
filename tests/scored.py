"""Targets and scenes for tests of strategies: how busy, how fast, how dear, and who has read what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from router.prefixes import LENGTH_BITS
from router.quotas.room import Room
from router.registry import Price
from router.routing.affinity import Affinity
from router.routing.fleet import InFlight, Pace, Target
from router.routing.scorers import Scene
from tests.specimens import CLOUD, LOCAL

SCENE = Scene()


def engine(name: str = "a", **changes: Any) -> Target:
    return replace(LOCAL, name=f"local/{name}", **changes)


def cloud(name: str = "a", **changes: Any) -> Target:
    return replace(CLOUD, name=f"cloud/{name}", **changes)


def busy(promised_tokens: int, requests: int = 1, **changes: Any) -> Target:
    return engine(in_flight=InFlight(requests=requests, promised_tokens=promised_tokens), **changes)


def paced(ttft_s: float | None, tpot_s: float | None, answers: int = 9, requests: int = 0) -> Target:
    pace = Pace(answers=answers, answer_tokens=100.0, ttft_p50_s=ttft_s, tpot_p50_s=tpot_s)
    return engine(pace=pace, in_flight=InFlight(requests=requests))


def priced(usd_in: float | None, usd_out: float = 0.0, **changes: Any) -> Target:
    return cloud(price=None if usd_in is None else Price(usd_in, usd_out), **changes)


def quota(left_share: float, **changes: Any) -> Target:
    return cloud(room=Room(left_share=left_share, is_free=True, **changes))


def prefix(number: int, size_bytes: int) -> int:
    return number << LENGTH_BITS | size_bytes


def read(*told: tuple[str, Sequence[int]]) -> Scene:
    """Who has been sent which prompts, the newest last."""
    affinity = Affinity()
    for target, prefixes in told:
        affinity.seen(prefixes, target)
    return Scene(0, affinity)


# A conversation of two turns after instructions that others share, and the same with a third turn; another one.
RULES, FIRST, SECOND, THIRD = prefix(1, 2000), prefix(2, 4000), prefix(3, 6000), prefix(4, 8000)
TALK, LONGER, OTHER = (FIRST, RULES, FIRST, SECOND), (FIRST, RULES, FIRST, SECOND, THIRD), (prefix(9, 4000),) * 2
SHORT = (prefix(7, 64),) * 2
