"""Whether an engine that serves still does, from what is seen of it from outside. Pure: looks and canaries in, with the
times of a clock that only counts on; a suspicion out, which a canary confirms or refutes.

The rules. Requests are in flight and the count of steps stands still (vLLM counts steps with output: 0.33,
iteration_tokens_total_count), or the server is silent, or it answers but says itself that its engine is dead: then it
is suspected. One that stands still is given what its longest prompt may rightly take, because a prefill makes no output
until it ends; a canary, a request for one token, gets what is left of that time. It hangs if the canary does not come
back and nothing has moved meanwhile. An idle engine gets a canary once a minute, because nothing else would tell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from engines.snapshot import EngineUse

STILL_S = 5.0
CANARY_S = 4.0
IDLE_S = 60.0
# Kernels are compiled with the first requests, and graphs captured: a time in which nothing moves, but processors work.
FIRST_STEPS = 32
FIRST_S = 60.0
# A server that answers nobody, but computes, is overloaded: tokenizing on a machine that is too small.
OVERLOAD_S = 25.0
LONGEST_ALLOWANCE_S = 600.0
# How fast prompts are read, until that is learned: by a large model on a slow processor, and on a GPU.
CPU_TOKENS_PER_S, GPU_TOKENS_PER_S = 25.0, 500.0
# A prompt out of the prefix cache ends sooner than one that is computed, so what is learned may be far too fast.
MOST_LEARNED_TIMES = 4.0
LEARNING, LEARNING_MARGIN = 0.1, 2.0
LEAST_LEARNED_TOKENS, LEAST_LEARNED_S = 256, 1.0
NO_USE = EngineUse()


@dataclass(frozen=True, slots=True)
class Limits:
    """What is known of an engine before it serves: how fast it surely reads prompts, how many tokens a step may hold,
    the longest prompt it takes, and how many requests it serves at once where only that is known (else None)."""

    tokens_per_s: float
    step_tokens: int
    context_tokens: int
    slots: int | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """One look at an engine. `use` is what routers have there, `own` how many requests it says it has itself; `steps`
    is None where it never tells. `heard_s`: when it last told anything. `is_sick`: it answers, but says that its engine
    does not. `is_working`: processors worked for it while it stood still; `is_computing`: its server itself does."""

    now_s: float
    heard_s: float
    steps: int | None = None
    own: int = 0
    use: EngineUse = NO_USE
    is_sick: bool = False
    is_working: bool = False
    is_computing: bool = False

    @property
    def has_work(self) -> bool:
        return self.own > 0 or self.use.in_flight > 0


@dataclass(frozen=True, slots=True)
class Beat:
    """What the looks so far say. `moved_s`: when it last made a step, or a token for a canary. `still_s`: since when it
    stands still with requests in flight, None if it does not; what routers had there in that time stands in
    `longest_tokens` and `unstarted` (the most of each) and `is_known` (whether they had anything)."""

    last: Look
    moved_s: float
    tokens_per_s: float
    still_s: float | None = None
    longest_tokens: int = 0
    unstarted: int = 0
    is_known: bool = False


class Sign(StrEnum):
    """By what an engine is suspected."""

    SICK = "sick"
    SILENT = "silent"
    STILL = "still"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A canary is due, and has `canary_s` to come back; `why` in words, should it not. `at_s` is now."""

    sign: Sign
    why: str
    at_s: float
    canary_s: float


def first(look: Look, limits: Limits) -> Beat:
    """An engine that has just made a token."""
    return Beat(look, look.now_s, limits.tokens_per_s)


def beat(before: Beat, look: Look, limits: Limits) -> Beat:
    """What is known after one more look."""
    if look.steps != before.last.steps:
        after = Beat(look, look.now_s, _learned(before, look, limits))
    else:
        after = replace(before, last=look)
    if not look.has_work:
        return replace(after, still_s=None, longest_tokens=0, unstarted=0, is_known=False)
    return replace(
        after,
        still_s=look.now_s if after.still_s is None else after.still_s,
        longest_tokens=max(after.longest_tokens, look.use.longest_prompt_tokens),
        unstarted=max(after.unstarted, look.use.unstarted),
        is_known=after.is_known or look.use.in_flight > 0,
    )


def proved(before: Beat, now_s: float) -> Beat:
    """A canary came back at this moment."""
    still_s = None if before.still_s is None else now_s
    return replace(before, moved_s=now_s, still_s=still_s, last=replace(before.last, heard_s=now_s, is_sick=False))


def suspicion(found: Beat, limits: Limits) -> Suspicion | None:
    """Whether a canary is due, by what was seen last."""
    look = found.last
    if look.is_sick:
        return Suspicion(Sign.SICK, "its server says that its engine is dead", look.now_s, CANARY_S)
    silent_s = look.now_s - look.heard_s
    if silent_s >= STILL_S + (OVERLOAD_S if look.is_computing else 0.0):
        why = f"its server has not answered for {silent_s:.0f} s"
        return Suspicion(Sign.SILENT, why, look.now_s, max(CANARY_S / 2, STILL_S + CANARY_S - silent_s))
    if found.still_s is None:
        is_due = not look.has_work and look.now_s - found.moved_s >= IDLE_S
        why = "it made no token when it was asked for one"
        return Suspicion(Sign.IDLE, why, look.now_s, STILL_S + CANARY_S) if is_due else None
    still_s, allowance = look.now_s - found.still_s, allowance_s(found, limits)
    if still_s < STILL_S + allowance / 2:
        return None
    why = f"it has requests and has made no step for {still_s:.0f} s"
    return Suspicion(Sign.STILL, why, look.now_s, max(CANARY_S / 2, STILL_S + allowance + CANARY_S - still_s))


def is_hung(found: Suspicion, after: Beat) -> bool:
    """Whether the suspicion holds, once its canary did not come back: nothing has moved since, `after` says."""
    if after.moved_s > found.at_s:
        return False
    if found.sign is Sign.SILENT:
        return after.last.heard_s < found.at_s - STILL_S / 2
    return found.sign is not Sign.SICK or after.last.is_sick


def allowance_s(found: Beat, limits: Limits) -> float:
    """How long what is in flight may rightly make no output, beyond the usual: the longest prompt, and a step that is
    full of others' before it. A request that no router knows may have a prompt as long as the context."""
    look = found.last
    if look.steps is None and limits.slots is not None and look.use.in_flight >= limits.slots:
        # Nothing tells that its slots move on, and a canary would queue for one.
        return LONGEST_ALLOWANCE_S
    longest = found.longest_tokens if found.is_known else limits.context_tokens
    others = min(max(0, found.unstarted - 1) * longest, limits.step_tokens)
    is_new = look.steps is not None and look.steps < FIRST_STEPS and look.is_working
    return min(LONGEST_ALLOWANCE_S, (longest + others) / found.tokens_per_s + (FIRST_S if is_new else 0.0))


def _learned(before: Beat, look: Look, limits: Limits) -> float:
    """Tokens per second, after a stall that ended well. Only one that a lone prompt filled tells anything: a shorter
    one that ends first would look like a fast engine. Slower is believed at once, faster little by little."""
    rate = before.tokens_per_s
    stood_s = 0.0 if before.still_s is None else look.now_s - before.still_s
    is_lone = before.unstarted == 1 and before.last.use.in_flight == 1 and before.last.own <= 1
    is_new = before.last.steps is None or before.last.steps < FIRST_STEPS
    if not is_lone or is_new or stood_s < LEAST_LEARNED_S or before.longest_tokens < LEAST_LEARNED_TOKENS:
        return rate
    seen = before.longest_tokens / stood_s / LEARNING_MARGIN
    slowest, fastest = limits.tokens_per_s / MOST_LEARNED_TIMES, limits.tokens_per_s * MOST_LEARNED_TIMES
    seen = min(max(seen, slowest), fastest)
    return seen if seen < rate else rate + LEARNING * (seen - rate)
