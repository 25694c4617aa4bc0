"""What the demo has shown: the figures of every shot added up, and three facts checked against them.

Pure: shots, phases and a price in, values out. It must not know how they are printed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.crowd import TOO_MANY, Phase, Shot
from benchmarks.price import Price
from benchmarks.quantiles import Spread, spread

# The traffic is back when of so many requests in a row that may spill this share ran at home. The engine first works
# off what the pressure has left, and how long that takes is the machine's: it is a figure, not a fault.
BACK_COUNT = 10
BACK_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Row:
    """All requests with the same target and reason. `usd` is what they cost; local tokens cost nothing."""

    target: str
    reason: str
    requests: int
    share: float
    ttft_s: Spread | None
    tokens: int
    usd: float


@dataclass(frozen=True, slots=True)
class Split:
    """Where the requests of one phase ran."""

    phase: Phase
    local: int
    cloud: int
    refused: int
    failed: int

    @property
    def local_share(self) -> float:
        """Of the answered ones."""
        return self.local / max(1, self.local + self.cloud)


@dataclass(frozen=True, slots=True)
class Fact:
    """One of the three claims, whether it was seen, and the figures that show it."""

    claim: str
    shown: bool
    figures: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Everything that the demo reports of its requests."""

    rows: tuple[Row, ...]
    splits: tuple[Split, ...]
    facts: tuple[Fact, ...]
    spent_usd: float
    all_cloud_usd: float
    failures: tuple[str, ...]

    @property
    def shown(self) -> bool:
        """All three facts."""
        return all(fact.shown for fact in self.facts)


def judge(shots: Sequence[Shot], phases: Sequence[Phase], price: Price) -> Verdict:
    """Add up and check. The phases are calm, pressure, calm; each began when the one before was over."""
    answered = [shot for shot in shots if is_answered(shot)]
    failed = [shot for shot in shots if not is_answered(shot) and not is_refused(shot)]
    return Verdict(
        rows=rows(shots, price),
        splits=tuple(split(phase, shots) for phase in phases),
        facts=(spilled(shots, phases[1]), stayed(shots), came_back(shots, phases)),
        spent_usd=sum(usd(shot, price) for shot in answered if is_cloud(shot)),
        all_cloud_usd=sum(usd(shot, price) for shot in answered),
        failures=tuple(f"{shot.sample.target or 'no target'}: {shot.sample.error}" for shot in failed),
    )


def is_answered(shot: Shot) -> bool:
    """A complete answer."""
    return shot.sample.error is None


def is_refused(shot: Shot) -> bool:
    """Refused with 429 until its phase was over."""
    return shot.sample.status == TOO_MANY


def is_cloud(shot: Shot) -> bool:
    """Ran in a cloud, or began to."""
    return shot.sample.target.startswith("cloud/")


def usd(shot: Shot, price: Price) -> float:
    """What the shot costs at the cloud's price, wherever it ran."""
    return price.usd(shot.sample.prompt_tokens, shot.sample.completion_tokens)


def rows(shots: Sequence[Shot], price: Price) -> tuple[Row, ...]:
    """One row for every target and reason, local ones first."""
    groups: dict[tuple[str, str], list[Shot]] = defaultdict(list)
    for shot in shots:
        outcome = "answered" if is_answered(shot) else "refused (429)" if is_refused(shot) else "failed"
        place = shot.sample.target or "none"
        groups[place if outcome == "answered" else outcome, shot.sample.reason].append(shot)
    order = sorted(groups, key=lambda key: (not key[0].startswith("local/"), not key[0].startswith("cloud/"), key))
    return tuple(_row(key, groups[key], len(shots), price) for key in order)


def _row(key: tuple[str, str], shots: Sequence[Shot], total: int, price: Price) -> Row:
    return Row(
        target=key[0],
        reason=key[1],
        requests=len(shots),
        share=len(shots) / total,
        ttft_s=spread(shot.sample.ttft_s for shot in shots if shot.sample.ttft_s is not None),
        tokens=sum(shot.sample.prompt_tokens + shot.sample.completion_tokens for shot in shots),
        usd=sum(usd(shot, price) for shot in shots if is_cloud(shot)),
    )


def split(phase: Phase, shots: Iterable[Shot]) -> Split:
    """Where the requests that were started in this phase ran."""
    own = [shot for shot in shots if shot.phase == phase.name]
    answered = [shot for shot in own if is_answered(shot)]
    cloud = sum(is_cloud(shot) for shot in answered)
    refused = sum(is_refused(shot) for shot in own)
    return Split(phase, len(answered) - cloud, cloud, refused, len(own) - len(answered) - refused)


def may_spill(shots: Iterable[Shot]) -> list[Shot]:
    """Answered requests that prefer home and may leave; premium prefers the cloud and proves nothing."""
    return [shot for shot in shots if shot.user.tier == "standard" and is_answered(shot)]


def spilled(shots: Iterable[Shot], pressure: Phase) -> Fact:
    """Tiers that may spill went to the cloud under pressure."""
    able = [shot for shot in may_spill(shots) if shot.phase == pressure.name]
    gone = [shot for shot in able if is_cloud(shot) and shot.sample.reason.startswith("spill:")]
    figures = f"{len(gone)} of {len(able)} standard requests under pressure"
    return Fact("tiers that may spill went to the cloud under pressure", bool(gone), figures)


def stayed(shots: Iterable[Shot]) -> Fact:
    """Local-only requests never left: they waited, or got 429."""
    own = [shot for shot in shots if shot.user.local_only]
    gone = sum(is_cloud(shot) for shot in own)
    answered = [shot for shot in own if is_answered(shot)]
    waits = spread(shot.first_token_s for shot in answered if shot.first_token_s is not None)
    wait = "none answered" if waits is None else f"first token p95 {waits.p95:.2f} s"
    refusals = sum(shot.refusals for shot in own)
    figures = f"{gone} of {len(own)} in the cloud, {len(answered)} answered, {wait}, {refusals} times 429"
    return Fact("local-only requests never left", gone == 0 and bool(answered), figures)


def came_back(shots: Sequence[Shot], phases: Sequence[Phase]) -> Fact:
    """Traffic came back when there was room again."""
    then = home_share(may_spill(shot for shot in shots if shot.phase == phases[-2].name))
    after_s = back_s(shots, phases)
    many = f"{BACK_SHARE * BACK_COUNT:.0f} of {BACK_COUNT} standard requests in a row ran local"
    again = (
        f"never within {phases[-1].seconds:.0f} s" if after_s is None else f"again {after_s:.1f} s after the pressure"
    )
    is_shown = after_s is not None and then < BACK_SHARE
    return Fact("traffic came back when there was room", is_shown, f"{many} {again}; {then:.0%} of them under it")


def back_s(shots: Iterable[Shot], phases: Sequence[Phase]) -> float | None:
    """How long after the pressure the traffic was back, None while it is not."""
    *before, last = phases
    after = sorted(may_spill(shot for shot in shots if shot.phase == last.name), key=lambda shot: shot.started_s)
    rows = (after[first : first + BACK_COUNT] for first in range(len(after) - BACK_COUNT + 1))
    back = next((row for row in rows if home_share(row) >= BACK_SHARE), None)
    return None if back is None else back[0].started_s - sum(phase.seconds for phase in before)


def home_share(shots: Sequence[Shot]) -> float:
    """Share of these that ran locally, 0 of none."""
    return sum(not is_cloud(shot) for shot in shots) / max(1, len(shots))
