"""An Exchange that has ended as a Sample: moments count from the start of the run. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from benchmarks.drive.events import Events
from benchmarks.drive.exchange import Exchange
from benchmarks.drive.sample import Sample

SPILLWAY = b"x-spillway-"


def sample_of(exchange: Exchange, began_s: float) -> Sample:
    """What it met."""
    arrival, headers = exchange.arrival, exchange.headers
    body = exchange.body if isinstance(exchange.body, Events) else Events()
    return Sample(
        number=exchange.number,
        scheduled_s=exchange.due_s - began_s,
        sent_s=exchange.sent_s - began_s,
        ended_s=exchange.ended_s - began_s,
        status=exchange.status,
        first_s=None if body.first_s is None else body.first_s - began_s,
        last_s=None if body.first_s is None else body.last_s - began_s,
        gaps_s=tuple(body.gaps_s),
        gap_events=tuple(body.gap_events),
        events=body.events,
        prompt_tokens=body.prompt_tokens,
        completion_tokens=body.completion_tokens,
        expected_prompt_tokens=arrival.prompt.tokens,
        expected_output_tokens=arrival.output_tokens,
        finish_reason=body.finish_reason,
        kind=arrival.kind.value,
        # What the router made of it, or else what was asked for.
        tier=_text(headers, SPILLWAY + b"tier") or arrival.tier,
        task=arrival.task,
        tenant=arrival.tenant,
        target=_text(headers, SPILLWAY + b"target"),
        reason=_text(headers, SPILLWAY + b"reason"),
        attempts=int(_number(headers, SPILLWAY + b"attempts") or 0),
        usd=_number(headers, SPILLWAY + b"usd"),
        request_id=_text(headers, b"x-request-id"),
        error=exchange.error.value if exchange.error else None,
        message=exchange.message,
    )


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1")


def _number(headers: Mapping[bytes, bytes], name: bytes) -> float | None:
    """None where the header is missing or no finite number: unknown is never zero."""
    try:
        value = float(headers[name])
    except (KeyError, ValueError):
        return None
    return value if math.isfinite(value) else None
