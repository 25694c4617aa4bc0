"""The list of decisions: its rows say where a request went and why, and it keeps no request's body."""

from __future__ import annotations

import sys
import time
from collections import deque

from router.decided import answered, rows, turned_away
from router.errors import ApiError
from router.routing.policy import Decision
from tests.specimens import CLOUD, LOCAL, ask, local

OTHER = local(name="local/other", models=frozenset({"other"}))
SPILLED = Decision((CLOUD, LOCAL), "spill:kv", chain=("smoke",), fleet=(LOCAL, OTHER, CLOUD))


def test_a_row_says_where_a_request_went_and_why() -> None:
    asked = ask(request_id="req-7", requested="auto", tier="standard", task="coding", local_only=False)
    before_unix_s = time.time()
    (row,) = rows([answered(asked, SPILLED, "local/smoke", "fallback:429", 2)])
    assert before_unix_s <= row.pop("at_unix_s") <= time.time()
    assert [row] == [
        {
            "request_id": "req-7",
            "asked": "auto",
            "tier": "standard",
            "task": "coding",
            "local_only": False,
            "order": ["cloud/nano", "local/smoke"],
            "dropped": ["local/other: serves_model no"],
            "reason": "fallback:429",
            "target": "local/smoke",
            "attempts": 2,
            "refused": None,
        }
    ]


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
