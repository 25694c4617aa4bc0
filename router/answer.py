"""The whole path of one request, from its first byte to the ledger: a star around `answer`.

Read the Ask, view the Fleet and choose, open the first target that yields a token (or wait for one), relay, settle.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Mapping

from msgspec.structs import replace

from router.ask import Ask, read_ask
from router.comparing.copies import send_copies
from router.course import Course
from router.decided import answered
from router.delivery import deliver, why_cancelled
from router.errors import ApiError
from router.exchange import Exchange
from router.measuring import measured
from router.rounds import carried_out
from router.routing.directed import directed
from router.served import Doors, refusal_lines, refused
from router.tables.keys import Keys

BEARER = "Bearer "


async def answer(doors: Doors, exchange: Exchange) -> None:
    """Answer one request of the hot route. Raises nothing but what cancels it."""
    try:
        check_key(exchange.headers, doors.keys)
        _check_encoding(exchange.headers)
        raw = await exchange.read_body(doors.watch.rules.limits.body_bytes)
        ask = _asked(doors, exchange, raw)
        # A prompt has no more tokens than bytes: of one that surely fits everywhere nobody asks how long it is.
        if ask.prompt_bytes + (ask.max_tokens or 0) > doors.watch.contexts.shortest_tokens:
            rules, ask = doors.watch.rules, await measured(doors, ask)
            # An edit meanwhile: by the new rules it may be another task's, of another tier.
            if rules is not doors.watch.rules:
                ask = replace(_asked(doors, exchange, raw), request_id=ask.request_id, lengths=ask.lengths)
    except ApiError as error:
        exchange.refuse(error)
        return
    course = Course(doors.watch.decide(ask, doors.money(ask.tier), exchange.arrived_s))
    try:
        served = await carried_out(doors, ask, course, exchange.arrived_s)
    except ApiError as error:
        attempts = len(course.failures)
        refused(doors, ask, course, exchange.arrived_s, error, attempts)
        exchange.refuse(error, refusal_lines(ask, course.decision, attempts))
        return
    except asyncio.CancelledError:
        # Who waits before engines is under way to nobody yet.
        attempts = len(course.failures) + (bool(course.decision.targets) and course.decision.gate is None)
        refused(doors, ask, course, exchange.arrived_s, why_cancelled(exchange.disconnected), attempts)
        raise
    doors.watch.decisions.append(answered(ask, course.decision, served.target.name, served.reason, served.attempts))
    if doors.watch.rules.shadows:
        send_copies(doors, ask)
    await deliver(doors, served, exchange)


def _asked(doors: Doors, exchange: Exchange, raw: bytes) -> Ask:
    """By the rules of now. Raises ApiError."""
    rules = doors.watch.rules
    return directed(read_ask(raw, exchange.headers, exchange.endpoint, rules), rules, time.time())


def check_key(headers: Mapping[str, str], keys: Keys) -> None:
    """Constant-time comparison against every accepted key. Raises ApiError 401."""
    if not keys.accepted:
        return
    given = headers.get("authorization", "").removeprefix(BEARER).encode()
    if not any([hmac.compare_digest(given, key.encode()) for key in keys.accepted]):
        raise ApiError(401, "invalid_api_key", "the API key is missing or wrong; send it as a Bearer token")


def _check_encoding(headers: Mapping[str, str]) -> None:
    encoding = headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise ApiError(415, "unsupported_encoding", f"the body is encoded as {encoding}; send it as it is")
