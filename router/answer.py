"""The whole path of one request, from its first byte to the ledger: a star around `answer`.

Read the Ask, view the Fleet and choose, open the first target that yields a token (or wait for one), relay, settle.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping

from router.ask import read_ask
from router.attempts import broken
from router.decided import answered
from router.errors import ApiError, StreamBroken
from router.exchange import FAULT, STOPPING, Exchange
from router.rounds import Course, carried_out
from router.served import CLIENT_GONE, Doors, Served, refusal_lines, refused, settle
from router.sse import error_event
from router.tables.keys import Keys

OK = 200
BEARER = "Bearer "


async def answer(doors: Doors, exchange: Exchange) -> None:
    """Answer one request of the hot route. Raises nothing but what cancels it."""
    try:
        check_key(exchange.headers, doors.keys)
        _check_encoding(exchange.headers)
        raw = await exchange.read_body(doors.watch.rules.limits.body_bytes)
        ask = read_ask(raw, exchange.headers, exchange.endpoint, doors.watch.rules)
    except ApiError as error:
        exchange.refuse(error)
        return
    course = Course(doors.watch.decide(ask, doors.money(), exchange.arrived_s))
    try:
        served = await carried_out(doors, ask, course, exchange.arrived_s)
    except ApiError as error:
        attempts = len(course.failures)
        refused(doors, ask, course.decision, exchange.arrived_s, error, attempts)
        exchange.refuse(error, refusal_lines(ask, course.decision, attempts))
        return
    except asyncio.CancelledError:
        attempts = len(course.failures) + bool(course.decision.targets)
        refused(doors, ask, course.decision, exchange.arrived_s, _why_cancelled(exchange), attempts)
        raise
    doors.watch.decisions.append(answered(ask, course.decision, served.target.name, served.reason, served.attempts))
    await _deliver(doors, served, exchange)


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


async def _deliver(doors: Doors, served: Served, exchange: Exchange) -> None:
    """Settled exactly once, however it ends."""
    reply = served.reply
    if reply.body is not None:
        settle(doors, served, exchange.arrived_s, OK, None)
        exchange.respond(OK, served.lines(), reply.body)
        return
    status: int = FAULT.status
    told: str | None = FAULT.message
    try:
        exchange.begin(served.lines(), reply)
        await reply.relay(exchange)
        status, told = OK, None
    except StreamBroken as error:
        failure = broken(error)
        status, told = failure.status, failure.message
        exchange.end(error_event(failure))
    except asyncio.CancelledError:
        why = _why_cancelled(exchange)
        status, told = why.status, why.message
        raise
    finally:
        try:
            await reply.close()
        finally:
            settle(doors, served, exchange.arrived_s, status, told)


def _why_cancelled(exchange: Exchange) -> ApiError:
    """The client left; or it is still there, and the router is being stopped."""
    return ApiError(CLIENT_GONE, "client_gone", "the client left") if exchange.disconnected else STOPPING
