"""A comparison in figures: what the two arms of a split or shadow got, out of the rows of the ledger. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

import msgspec

from router.outcome import Outcome

# The client left: neither an answer nor an error of whoever served it.
CLIENT_GONE = 499
ERROR = 400


class ArmFigures(msgspec.Struct, frozen=True):
    """One arm. Times in seconds, of answers without error; None where there are none. TTFT is that of streams.

    `unsent` are copies that gave way or found no room, which are in no other figure. `targets` are those that served.
    """

    requests: int
    unsent: int
    errors: int
    left: int
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    e2e_p50_s: float | None
    e2e_p95_s: float | None
    prompt_tokens: int
    completion_tokens: int
    usd: float
    targets: tuple[str, ...]

    @property
    def answered(self) -> int:
        return self.requests - self.errors - self.left


def arms_of(rows: Iterable[Outcome], trial: str) -> tuple[ArmFigures, ArmFigures]:
    """(control, trial) of the rows that `router.books.read_compared` found; `trial` is the label of that arm.

    Of a shadow only those originals count whose copy was sent, so that both arms are of the same questions.
    """
    asked = list(rows)
    copies = [row for row in asked if row.arm == trial]
    unsent = {row.shadow_of for row in copies if row.shadow_of is not None and _is_unsent(row)}
    control = [row for row in asked if row.arm != trial and row.request_id not in unsent]
    return figures_of(control), figures_of(copies)


def figures_of(rows: Sequence[Outcome]) -> ArmFigures:
    sent = [row for row in rows if not (row.shadow_of is not None and _is_unsent(row))]
    answered = [row for row in sent if row.status < ERROR]
    left = sum(row.status == CLIENT_GONE for row in sent)
    ttfts = [row.ttft_s for row in answered if row.ttft_s is not None]
    e2es = [row.e2e_s for row in answered]
    return ArmFigures(
        requests=len(sent),
        unsent=len(rows) - len(sent),
        errors=len(sent) - len(answered) - left,
        left=left,
        ttft_p50_s=_quantile(ttfts, 0.5),
        ttft_p95_s=_quantile(ttfts, 0.95),
        e2e_p50_s=_quantile(e2es, 0.5),
        e2e_p95_s=_quantile(e2es, 0.95),
        prompt_tokens=sum(row.prompt_tokens for row in sent),
        completion_tokens=sum(row.completion_tokens for row in sent),
        usd=sum(row.usd for row in sent),
        targets=tuple(sorted({row.target for row in answered})),
    )


def _is_unsent(copy: Outcome) -> bool:
    """Whether no target has seen the copy."""
    return copy.attempts == 0


def _quantile(values: Collection[float], share: float) -> float | None:
    """The smallest value that at least this share of them does not pass (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
