"""What one load has met: counts and times of answers, and their summary for a table.

Pure but for its own counts. Times count only while the window is open; faults always do.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.completeness import Fault
from benchmarks.quantiles import Spread, spread


@dataclass(frozen=True, slots=True)
class Summary:
    """One load in figures. `events_per_read` says how many tokens one read brought; `sample` shows the first fault."""

    seconds: float
    requests_per_s: float
    tokens_per_s: float
    events_per_read: float
    complete: int
    faults: dict[str, int]
    unfinished: int
    latency_s: Spread | None
    ttft_s: Spread | None
    gap_s: Spread | None
    cpu_share: float
    sample: str = ""

    @property
    def is_complete(self) -> bool:
        """Nothing was lost."""
        return self.complete > 0 and not self.faults and not self.unfinished

    def as_json(self) -> dict[str, Any]:
        """For another process."""
        return asdict(self)


def summary_in(raw: dict[str, Any]) -> Summary:
    """The inverse of `as_json`."""
    spreads = {name: None if raw[name] is None else Spread(**raw[name]) for name in ("latency_s", "ttft_s", "gap_s")}
    return Summary(**(raw | spreads))


class Tally:
    """The counts of one load. One writer: the event loop of the load."""

    def __init__(self, mark: bytes) -> None:
        """`mark` occurs once in every token, as it goes over the wire."""
        self._mark = mark
        self.is_open = False
        self.complete = 0
        self.faults: Counter[str] = Counter()
        self.sample = ""
        self._answers = 0
        self._tokens = 0
        self._reads = 0
        self._latencies_s = array("d")
        self._ttfts_s = array("d")
        self._gaps_s = array("d")

    @property
    def ended(self) -> int:
        """Answers that are over, whole or not."""
        return self.complete + self.faults.total()

    def read(self, data: bytes, gap_s: float | None) -> None:
        """Bytes came, `gap_s` after the last ones of the same stream."""
        if not self.is_open:
            return
        self._reads += 1
        self._tokens += data.count(self._mark)
        if gap_s is not None:
            self._gaps_s.append(gap_s)

    def answer(self, latency_s: float, ttft_s: float | None, *, counts: bool) -> None:
        """A complete answer. Its times count if it was asked for in the window."""
        self.complete += 1
        self._answers += self.is_open
        if counts:
            self._latencies_s.append(latency_s)
            if ttft_s is not None:
                self._ttfts_s.append(ttft_s)

    def fail(self, fault: Fault, sample: str) -> None:
        """An answer that is not complete."""
        self.faults[fault.value] += 1
        self.sample = self.sample or sample

    def summary(self, seconds: float, unfinished: int, cpu_s: float) -> Summary:
        """The figures of a window of that length."""
        return Summary(
            seconds=seconds,
            requests_per_s=self._answers / seconds,
            tokens_per_s=self._tokens / seconds,
            events_per_read=self._tokens / max(1, self._reads),
            complete=self.complete,
            faults=dict(self.faults),
            unfinished=unfinished,
            latency_s=spread(self._latencies_s),
            ttft_s=spread(self._ttfts_s),
            gap_s=spread(self._gaps_s),
            cpu_share=cpu_s / seconds,
            sample=self.sample,
        )
