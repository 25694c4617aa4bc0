"""What kinds need of the door to engines: a page, an answer, a stream of lines. `http` is the one that talks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol


class EngineSilentError(Exception):
    """The engine did not answer as it should; the message says what came instead. `status` is None if nothing did."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Wire(Protocol):
    """One for all engines, open while it is used."""

    async def get(self, url: str, limit_s: float, key: str | None = None) -> str:
        """The text of a page. Raises EngineSilentError unless it comes with status 200 within `limit_s`."""

    async def post(self, url: str, body: Mapping[str, Any] | None, limit_s: float, key: str | None = None) -> str:
        """The text of the answer. Raises EngineSilentError unless it comes with status 200 within `limit_s`."""

    def lines(self, url: str, body: Mapping[str, Any], silence_s: float) -> AsyncIterator[str]:
        """POST, and the lines of the answer as they come. Raises EngineSilentError for another status than 200, a
        connection that breaks, or `silence_s` without a byte."""
