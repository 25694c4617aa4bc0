"""What the stub engine can do wrong on purpose, so that a check of completeness can prove that it finds it.

Pure: the numbers of an answer's tokens in, those that are sent out.
"""

from __future__ import annotations

from enum import StrEnum


class Tamper(StrEnum):
    """One fault of an answer. `no-done` and `no-end` concern streams only, `no-usage` whole answers only."""

    NONE = "none"
    LOST = "lost"
    DOUBLED = "doubled"
    SWAPPED = "swapped"
    NO_FINISH = "no-finish"
    NO_DONE = "no-done"
    NO_END = "no-end"
    NO_USAGE = "no-usage"
    CUT = "cut"
    REFUSED = "refused"


def spoiled(tamper: Tamper, tokens: int) -> list[int]:
    """The tokens of an answer of that length, with one of them lost, doubled or in the wrong place."""
    numbers = list(range(tokens))
    middle = tokens // 2
    if tamper is Tamper.LOST:
        del numbers[middle]
    elif tamper is Tamper.DOUBLED:
        numbers.insert(middle, middle)
    elif tamper is Tamper.SWAPPED:
        numbers.insert(middle - 1, numbers.pop(middle))
    return numbers
