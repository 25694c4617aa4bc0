"""`POST /spillway/route`: what would become of this request? Nothing is sent, counted, kept or woken."""

from __future__ import annotations

import time
from collections.abc import Mapping

from router.ask import Ask
from router.because import Moment
from router.errors import ApiError
from router.explain import Explanation, explain
from router.measuring import measured
from router.question import count_of, read_question
from router.routing.gate import Decision
from router.served import Doors


async def rehearse(doors: Doors, raw: bytes, headers: Mapping[str, str], tokens: str | None) -> Explanation:
    """Of a body and headers as a client would send them; `tokens` is how long to take the prompt for. Raises ApiError
    as the request itself would."""
    watch = doors.watch
    ask = await measured(doors, read_question(raw, headers, _count(tokens), watch.rules, time.time()))
    now_s = time.monotonic()

    def through(ask: Ask, decision: Decision) -> Decision:
        return watch.expect(ask, decision, now_s)

    return explain(ask, watch.view(now_s), watch.rules, Moment(doors.money(ask.tier), watch.past, through))


def _count(tokens: str | None) -> int | None:
    try:
        return None if tokens is None else count_of(tokens)
    except ValueError as error:
        raise ApiError(400, "invalid_value", f"tokens: {error}", "tokens") from error
