"""How long a request may take, and whose limit it is that ends it. Pure: limits and clock readings in, value out."""

from __future__ import annotations

import msgspec
from msgspec import structs

from router.ask import EMBEDDING, Ask
from router.routing.fleet import Pace
from router.routing.passing import OPEN_ANSWER_TOKENS
from router.tables.limits import Limits

# The causes of the limits of time, and what the client finds as the error's code. `deadline` is his own limit. A target
# that could not be reached in time was not slow: it is not there, as one whose port nobody listens at.
CODES = {
    "first_token": "first_token_timeout",
    "silence": "silence_timeout",
    "whole_answer": "answer_timeout",
    "deadline": "deadline_exceeded",
}


# What a stream's request may take at least, if it is the first to try a target that failed of late.
LEAST_PROBE_S = 2.0
# What is known of a target's answers is a median or a mean: a whole answer may be so many times as slow, and, where its
# length is left open, so many times as long, unless only few are known.
SLOWER, LONGER = 2.0, 4.0
LEAST_OPEN_TOKENS = 1024.0
LEAST_ANSWERS = 10


class Patience(msgspec.Struct, frozen=True):
    """`first_s`: until the first token of a stream or the whole of another answer; `cause` names that limit.

    `silence_s`: between two chunks after that. `whole_until_s`: when everything must be over, by `time.monotonic()`.
    """

    first_s: float
    cause: str
    silence_s: float
    whole_until_s: float

    def at_most(self, first_s: float) -> Patience:
        """With no more than so long until the first token, or the whole."""
        return structs.replace(self, first_s=first_s) if first_s < self.first_s else self

    def after(self, passed_s: float) -> Patience:
        """What is left of it when so long has passed."""
        return self.at_most(max(0.0, self.first_s - passed_s))


def patience_for(ask: Ask, limits: Limits, arrived_s: float, now_s: float) -> Patience:
    """What is left at `now_s` for one try. `first_s` is 0 or less when there is no time left at all."""
    whole_until_s = arrived_s + limits.whole_answer_s
    first_s, cause = whole_until_s - now_s, "whole_answer"
    if ask.stream and limits.first_token_s < first_s:
        first_s, cause = limits.first_token_s, "first_token"
    if ask.deadline_s is not None and arrived_s + ask.deadline_s - now_s < first_s:
        first_s, cause = arrived_s + ask.deadline_s - now_s, "deadline"
    return Patience(first_s, cause, limits.silence_s, whole_until_s)


def writing_s(ask: Ask, pace: Pace) -> float:
    """How long a target of this pace may take to write a whole answer, from its first token on."""
    if ask.endpoint is EMBEDDING:
        return 0.0
    open_tokens = float(OPEN_ANSWER_TOKENS)
    if pace.answers >= LEAST_ANSWERS:
        open_tokens = min(open_tokens, max(LEAST_OPEN_TOKENS, LONGER * pace.answer_tokens))
    token_s = 1 / pace.stream_tokens_per_s if pace.tpot_p50_s is None else pace.tpot_p50_s
    return SLOWER * (ask.max_tokens or open_tokens) * token_s
