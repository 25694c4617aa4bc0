"""Conversations for a measurement of prefix caches: the same instructions for all, then turn after turn of their own.

Pure: numbers in, messages out. The same numbers make the same conversations, and another `run` makes others, so that
no cache remembers them from the run before.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

PROSE = (
    "river road cart night morning letter window garden harbour winter baker candle market shoulder copper field "
    "thunder ladder pepper mirror carpet summer anchor basket meadow silver timber kitchen island feather"
)
WORDS = PROSE.split()

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Talks:
    """So many conversations of so many turns, with so many words of instructions, in a question and in an answer."""

    conversations: int
    turns: int
    shared_words: int
    question_words: int
    answer_words: int


def rounds(talks: Talks, run: int) -> Iterator[list[list[Message]]]:
    """Turn by turn, what each conversation sends: in another order each time, as visitors come back when they like."""
    dice = random.Random(run)
    instructions = {"role": "system", "content": _text(dice, talks.shared_words)}
    told: list[list[Message]] = [[instructions] for _ in range(talks.conversations)]
    for _ in range(talks.turns):
        for messages in told:
            messages.append({"role": "user", "content": _text(dice, talks.question_words)})
        dice.shuffle(told)
        yield [list(messages) for messages in told]
        for messages in told:
            # What an engine made of the question does not matter here, only that it stands there from now on.
            messages.append({"role": "assistant", "content": _text(dice, talks.answer_words)})


def _text(dice: random.Random, words: int) -> str:
    return " ".join(dice.choices(WORDS, k=words))
