"""How far one request has come. Written by whoever carries it out: `rounds`, and `attempts` for it."""

from __future__ import annotations

import msgspec

from router.failure import Failure
from router.routing.gate import Decision
from router.ticket import Ticket


class Course(msgspec.Struct):
    """Its newest Decision, all that failed, and what was paid for that and for answers that nobody heard; how long it
    has waited for somebody, and before engines, and how often it stood in line for clouds.

    `ticket` says where its sluice has placed it."""

    decision: Decision
    failures: list[Failure] = []
    lost_usd: float = 0.0
    waited_s: float = 0.0
    lines: int = 0
    ticket: Ticket | None = None
    queued_s: float = 0.0
