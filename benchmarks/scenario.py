"""The loads of `relay`, by letter.

Pure values. Answers have 128 tokens; a paced engine gives one every 20 ms, to each stream at its own moment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

from benchmarks.job import Address, Job

TOKENS = 128
DELAY_S = 0.02


@dataclass(frozen=True, slots=True)
class Scenario:
    """One load. `warm_s` passes before the window of `seconds`."""

    key: str
    title: str
    connections: int
    stream: bool
    delay_s: float
    warm_s: float
    seconds: float

    def job(self, address: Address, model: str, *, numbered: bool) -> Job:
        """For the load generator. Paced streams begin spread over the time that one takes."""
        ramp_s = TOKENS * self.delay_s
        return Job(
            address=address,
            model=model,
            connections=self.connections,
            stream=self.stream,
            tokens=TOKENS,
            numbered=numbered,
            warm_s=self.warm_s,
            seconds=self.seconds,
            ramp_s=ramp_s,
        )

    def scaled(self, factor: float) -> Scenario:
        """With another window, and where it is shorter, less time before it."""
        return replace(self, warm_s=self.warm_s * min(1.0, factor), seconds=self.seconds * factor)


SCENARIOS = MappingProxyType(
    {
        each.key: each
        for each in (
            Scenario("a", "whole answers, 1 connection", 1, False, 0.0, 1.5, 8.0),
            Scenario("b", "whole answers, 64 connections", 64, False, 0.0, 1.5, 8.0),
            Scenario("c", f"64 streams of {TOKENS} tokens, no delay", 64, True, 0.0, 2.0, 10.0),
            Scenario("d", f"256 streams of {TOKENS} tokens, 20 ms a token", 256, True, DELAY_S, 3.0, 12.0),
            Scenario("e", f"32 streams of {TOKENS} tokens, 20 ms a token", 32, True, DELAY_S, 3.0, 8.0),
        )
    }
)
