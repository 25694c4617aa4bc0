"""The list of decisions: its rows say where a request went and why, and it keeps no request's body."""

from __future__ import annotations

import sys
import time
from collections import deque

import pytest
from msgspec.structs import replace

from router.decided import answered, rows, turned_away
from router.errors import ApiError
from router.health.verdict import Verdict
from router.quotas.room import Room
from router.routing.fleet import Fleet, InFlight
from router.routing.gate import Decision
from router.routing.passing import Money
from router.routing.policy import choose
from tests.specimens import CLOUD, LOCAL, RULES, ask, local

OTHER = local(name="local/other", models=frozenset({"other"}))
SPILLED = Decision((CLOUD, LOCAL), "spill:kv", chain=("smoke",), fleet=(LOCAL, OTHER, CLOUD))


def test_a_row_says_where_a_request_went_and_why() -> None:
    asked = ask(request_id="req-7", requested="auto", tier="standard", task="coding", local_only=False)
    before_unix_s = time.time()
    (row,) = rows([answered(asked, SPILLED, "local/smoke", "fallback:429", 2)])
    assert before_unix_s <= row.pop("at_unix_s") <= time.time()
    assert [figures["target"] for figures in row.pop("figures")] == ["cloud/nano", "local/smoke"]
    assert [row] == [
        {
            "request_id": "req-7",
            "asked": "auto",
            "tier": "standard",
            "task": "coding",
            "route": None,
            "arm": None,
            "local_only": False,
            "models": ["smoke"],
            "order": ["cloud/nano", "local/smoke"],
            "on_failure": [
                {"target": "cloud/nano", "failed": "local/smoke", "too_long": None},
                {"target": "local/smoke", "failed": None, "too_long": None},
            ],
            "dropped": ["local/other: serves_model no"],
            "reason": "fallback:429",
            "target": "local/smoke",
            "attempts": 2,
            "refused": None,
        }
    ]


def test_a_row_says_what_there_was_to_choose_by() -> None:
    engine = local(in_flight=InFlight(1, 8000, 1, 8000), room=Room())
    spent = replace(CLOUD, health=Verdict("503"), room=Room(4.0, "requests per minute"))
    asked = ask(max_tokens=100)
    decision = choose(asked, Fleet((engine, spent)), RULES, Money(10.0))
    (row,) = rows([answered(asked, decision, "local/smoke", "tier", 1)])
    home, away = sorted(row["figures"], key=lambda each: each["target"], reverse=True)
    assert (home["tokens_in_flight"], home["usd"], home["failed"]) == (8000, 0.0, None)
    # 4000 tokens a second until measured.
    assert home["ttft_s"] == pytest.approx(8000 / 4000, rel=0.01)
    assert (away["failed"], away["room_in_s"], away["ttft_s"]) == ("503", 4.0, None)
    assert away["usd"] == pytest.approx((10 * 0.05 + 100 * 0.4) / 1e6)


def test_a_crowd_that_was_not_asked_is_counted() -> None:
    crowd = tuple(replace(OTHER, name=f"local/{number}") for number in range(50))
    (row,) = rows([answered(ask(), Decision((LOCAL,), "tier", chain=("smoke",), fleet=crowd), "x", "tier", 1)])
    assert len(row["dropped"]) == 31
    assert row["dropped"][-1] == "and 20 more"


def test_a_row_says_why_nobody_answered() -> None:
    (row,) = rows([turned_away(ask(), SPILLED, "every target is full", 2)])
    assert row["refused"] == "every target is full"
    assert row["target"] is None
    assert (row["reason"], row["attempts"]) == ("spill:kv", 2)


def test_the_latest_decision_comes_first() -> None:
    kept = deque((answered(ask(request_id=name), SPILLED, "x", "tier", 1) for name in "abc"), maxlen=2)
    assert [row["request_id"] for row in rows(kept)] == ["c", "b"]


def test_the_body_of_a_request_is_not_kept() -> None:
    def refused_with(raw: bytes) -> Decision:
        asked = ask(raw=raw)
        try:
            raise ApiError(429, "saturated", f"{asked.tier} is full")
        except ApiError as error:
            # The error remembers this frame, and with it the request.
            return Decision((), "tier", error)

    raw = b"x" * 1000
    before = sys.getrefcount(raw)
    kept = [answered(ask(raw=raw), SPILLED, "x", "tier", 1), turned_away(ask(raw=raw), refused_with(raw), "full", 1)]
    assert len(kept) == 2
    assert sys.getrefcount(raw) == before
