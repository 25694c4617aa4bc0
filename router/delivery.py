"""Hands an answer over to whoever it is for, to its end, and settles it once, however it ends."""

from __future__ import annotations

import asyncio
from typing import Protocol

from router.attempts import notice
from router.errors import ApiError, StreamBroken
from router.exchange import FAULT, STOPPING, Flow
from router.failure import broken
from router.reply import Sink
from router.served import CLIENT_GONE, Doors, Served, settle
from router.sse import error_event

OK = 200


class Audience(Sink, Protocol):
    """Whoever an answer is for. `disconnected`: it does not listen any more."""

    arrived_s: float
    disconnected: bool

    def respond(self, status: int, lines: bytes, body: bytes) -> None:
        """The whole answer."""

    def begin(self, lines: bytes, source: Flow) -> None:
        """What comes before a stream; `source` is told when to pause."""


async def deliver(doors: Doors, served: Served, audience: Audience) -> None:
    """Raises nothing but what cancels it."""
    reply = served.reply
    if reply.body is not None:
        settle(doors, served, audience.arrived_s, OK, None)
        audience.respond(OK, served.lines(), reply.body)
        return
    status: int = FAULT.status
    told: str | None = FAULT.message
    try:
        audience.begin(served.lines(), reply)
        await reply.relay(audience)
        status, told = OK, None
    except StreamBroken as error:
        notice(doors, served, error)
        failure = broken(error)
        status, told = failure.status, failure.message
        audience.end(error_event(failure))
    except asyncio.CancelledError:
        why = why_cancelled(audience.disconnected)
        status, told = why.status, why.message
        raise
    finally:
        try:
            await reply.close()
        finally:
            settle(doors, served, audience.arrived_s, status, told)


def why_cancelled(disconnected: bool) -> ApiError:
    """The client left; or it is still there, and the router is being stopped."""
    return ApiError(CLIENT_GONE, "client_gone", "the client left") if disconnected else STOPPING
