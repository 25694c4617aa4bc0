"""From how near a request is looked at: the classes that it belongs to. Pure.

All answers, those of its model, its task, its prompt's length, its tenant, and these together. From near there are few
answers, so each level borrows from the one before it (borrowing). Prompt lengths that are neighbours lend to each other
through the level whose classes are wide.
"""

from __future__ import annotations

import math
from typing import NamedTuple

ClassKey = tuple[object, ...]


class Level(NamedTuple):
    """What of a request tells classes apart: its fields, and prompt lengths in so many classes an octave (0: none).

    Of a class the last `window` answers count.
    """

    fields: tuple[str, ...]
    per_octave: int
    window: float


# From afar to near. On the six traces that `python -m benchmarks lengths` was run on, half or twice a window changes no
# error by more than 2 %; with 8 classes of prompts an octave, not 16, those of Azure's conversations grow by 4 %.
LEVELS = (
    Level((), 0, 2000.0),
    Level(("model",), 0, 1000.0),
    Level(("model", "task"), 0, 1000.0),
    Level(("model", "task"), 2, 300.0),
    Level(("model", "task"), 16, 300.0),
    Level(("model", "task", "most"), 0, 1000.0),
    Level(("model", "task", "tenant"), 0, 1000.0),
    Level(("model", "task", "tenant", "most"), 2, 1000.0),
)
FINEST = max(level.per_octave for level in LEVELS)


def octave_of(most_tokens: int | None) -> int:
    """The class of max_tokens: 0 where it is not said."""
    return 0 if most_tokens is None else max(most_tokens, 1).bit_length()


def prompt_class(prompt_tokens: int, per_octave: int) -> int:
    """0 where the prompt's length is not known."""
    return int(math.log2(prompt_tokens) * per_octave) + 1 if prompt_tokens > 0 else 0


def class_key(level: Level, values: dict[str, str | int], prompt_tokens: int) -> ClassKey:
    """Equal for two levels that tell a request from the same others: one of them is enough."""
    said = tuple([(field, values[field]) for field in level.fields if values[field]])
    prompt = prompt_class(prompt_tokens, level.per_octave) if level.per_octave else 0
    return (said, level.per_octave, prompt) if prompt else (said,)
