"""What each cause of a failure means: for the target's breaker, for the budget of second tries, for who is tried next.

Pure, and one table: what `attempts` does and what an explanation says of it are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, TypeVar

import msgspec

CONTEXT = "context"
REFUSED = "refused"
FILTERED = "content_filter"
UNFIT = "schema"
# The budget of second tries is spent, for whoever would come next.
SPENT = "retries"
# After these nobody is tried.
LAST = frozenset({REFUSED, SPENT})


class Trigger(msgspec.Struct, frozen=True):
    """`words` are for people. `hurts`: its breaker hears of it. `spends`: the next try takes of the budget. `passes`: a
    second try at the same target may go well, after a pause, where there is no other."""

    words: str
    hurts: bool = True
    spends: bool = True
    passes: bool = False


_FULL = Trigger("it is full, or its provider's limit is reached", hurts=False, spends=False, passes=True)
_BROKEN = Trigger("it failed", passes=True)
_LATE = Trigger("it took too long")
_OURS = Trigger("nothing was sent to it", hurts=False, spends=False)

TRIGGERS: Mapping[str, Trigger] = MappingProxyType(
    {
        "429": _FULL,
        "5xx": _BROKEN,
        "connect": Trigger("it could not be reached", spends=False, passes=True),
        "cut": Trigger("its connection ended before a token came", passes=True),
        "timeout": _LATE,
        "first_token": Trigger("no first token came in time"),
        "whole_answer": Trigger("the answer did not come in time"),
        "silence": Trigger("it fell silent"),
        "deadline": Trigger("the client's deadline came near", hurts=False),
        "401": Trigger("its key is not accepted"),
        "402": Trigger("its account has no credit"),
        "403": Trigger("its key may not use the model"),
        "404": Trigger("its model is gone"),
        "408": _LATE,
        "409": _BROKEN,
        "empty": Trigger("the answer had nothing in it", passes=True),
        "malformed": Trigger("the answer was none", passes=True),
        "abort": Trigger("it ended the request itself", passes=True),
        "stream_error": _BROKEN,
        "error": _BROKEN,
        FILTERED: Trigger("its content filter withheld the answer", hurts=False),
        UNFIT: Trigger("the answer does not meet the schema that was asked for", hurts=False),
        CONTEXT: Trigger("the prompt is too long for it", hurts=False, spends=False),
        "budget": _OURS,
        "ledger": _OURS,
        "quota": _OURS,
        "off": _OURS,
        SPENT: Trigger("a fifth of all requests are second tries already", hurts=False, spends=False),
        REFUSED: Trigger("the request itself is wrong", hurts=False, spends=False),
    }
)


def trigger_of(cause: str) -> Trigger:
    """Of a cause that is not in the table, statuses of 500 and more among them, a failure like any other."""
    return TRIGGERS.get(cause) or TRIGGERS["5xx"]


class Sized(Protocol):
    """A target, as far as it matters who comes next."""

    @property
    def context_tokens(self) -> int: ...


def next_at(targets: Sequence[Sized], at: int, cause: str) -> int | None:
    """The place of who is tried after the one at `at` has failed; None: nobody.

    A prompt that is too long goes to the next with a longer context at once; what is wrong with the request itself is
    wrong everywhere, and a budget that is spent is so for all.
    """
    if cause in LAST:
        return None
    rest = range(at + 1, len(targets))
    if cause == CONTEXT:
        return next((each for each in rest if targets[each].context_tokens > targets[at].context_tokens), None)
    return next(iter(rest), None)


Target = TypeVar("Target", bound=Sized)


def following(targets: Sequence[Target], at: int, cause: str) -> Target | None:
    """Who is tried after the one at `at` has failed for this cause."""
    found = next_at(targets, at, cause)
    return None if found is None else targets[found]
