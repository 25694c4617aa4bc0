"""What answers are long here: learned from those that ended, for each kind of request. Pure; one writer.

A kind is looked at from afar and from near: all answers, those of its model, of its task, of its prompt's length, of
its tenant, and these together. From near there are few answers, so each level borrows from the level before it:
`borrows` answers of that (Dirichlet smoothing, as in the hierarchical Dirichlet language model, MacKay and Peto 1995).
The nearer the level, the finer the class of prompt lengths; levels with wider classes are what neighbours lend through.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple
from weakref import WeakValueDictionary

import msgspec

from router.spilling.rungs import LAST, PRIOR, rung_of
from router.spilling.sample import Sample

# Classes of requests that are remembered; of more, those that were not asked for longest are forgotten.
CLASSES = 4096
# A part of the mixture smaller than this is left out: it costs as much as a large one. The prior has at least as much,
# so that no length is impossible and the longest answers have a tail.
LEAST_SHARE = 1e-3
# A sample is renewed once its class has learned so large a share of what it knew, or everybody so many answers.
RENEWED_SHARE = 1 / 32
RENEWED_ANSWERS = 256
# Weights grow instead of the old ones shrinking; beyond this they are scaled down.
HEAVY = 1e12
# Samples of one class by `most_tokens`: clients name few of them.
SAMPLES = 16
GOLDEN = (math.sqrt(5) - 1) / 2


class Kind(msgspec.Struct, frozen=True):
    """What is known of a request before it is answered. Empty: not known. `most_tokens` is its max_tokens."""

    tenant: str = ""
    task: str = ""
    model: str = ""
    most_tokens: int | None = None
    prompt_tokens: int = 0


class Level(NamedTuple):
    """How a kind is looked at: `borrows` answers of the level before; the last `window` answers count (e-fold)."""

    fields: tuple[str, ...]
    per_octave: int
    borrows: float
    window: float


# From afar to near. Figures: `python -m benchmarks lengths`.
LEVELS = (
    Level((), 0, 1.0, 2000.0),
    Level(("model",), 0, 8.0, 2000.0),
    Level(("model", "task"), 0, 8.0, 2000.0),
    Level(("model", "task", "most"), 0, 8.0, 2000.0),
    Level(("model", "task"), 1, 8.0, 1000.0),
    Level(("model", "task"), 4, 8.0, 1000.0),
    Level(("model", "task"), 12, 8.0, 1000.0),
    Level(("model", "task", "tenant"), 0, 8.0, 1000.0),
    Level(("model", "task", "tenant"), 1, 8.0, 1000.0),
    Level(("model", "task", "tenant"), 4, 8.0, 1000.0),
)


class _Class:
    """Answers of one class at one level, by rung, the newest heaviest. Learns only."""

    __slots__ = ("__weakref__", "borrows", "growth", "heavy", "unit", "weights")

    def __init__(self, level: Level) -> None:
        self.borrows = level.borrows
        self.growth = 1 / (1 - 1 / level.window)
        self.unit = 1.0
        self.heavy = 0.0
        self.weights = [0.0] * (LAST + 1)

    @property
    def answers(self) -> float:
        """How many it knows, old ones as fractions."""
        return self.heavy / self.unit

    def learn(self, rung: int) -> None:
        unit = self.unit = self.unit * self.growth
        self.weights[rung] += unit
        self.heavy += unit
        if unit > HEAVY:
            self.weights = [weight / unit for weight in self.weights]
            self.heavy /= unit
            self.unit = 1.0


class _Line:
    """One request's classes, from afar to near, and what they say together until it is old."""

    __slots__ = ("classes", "known", "learned", "news", "samples")

    def __init__(self, classes: tuple[_Class, ...]) -> None:
        self.classes = classes
        self.samples: dict[int | None, Sample] = {}
        # Of the samples: answers they rest on, how many everybody had learned then; and what came to the class since.
        self.known = 0.0
        self.learned = 0
        self.news = 0


class Lengths:
    """One writer. Bounded: CLASSES lines; a class lives as long as a line has it."""

    def __init__(self, levels: tuple[Level, ...] = LEVELS, classes: int = CLASSES) -> None:
        self._levels = levels
        self._most = classes
        self._lines: OrderedDict[tuple[object, ...], _Line] = OrderedDict()
        self._classes: WeakValueDictionary[tuple[object, ...], _Class] = WeakValueDictionary()
        self._root = _Class(levels[0])
        self._learned = 0
        self._drawn = 0.5
        self._finest = max(level.per_octave for level in levels)

    def learn(self, kind: Kind, tokens: int, *, cut: bool = False) -> None:
        """An answer had so many tokens. `cut`: it would have gone on, had its client stayed; one that has `most_tokens`
        would have gone on too. Such an answer counts as one of the longer ones, evenly drawn from what is known.
        """
        if cut or (kind.most_tokens is not None and tokens >= kind.most_tokens):
            tokens = self._whole(kind, tokens)
        line = self._line(kind)
        rung = rung_of(tokens)
        for each in line.classes:
            each.learn(rung)
        line.news += 1
        self._learned += 1

    def sample(self, kind: Kind) -> Sample:
        """The distribution that holds for it now; where nothing is known a guess, with 0 answers."""
        line = self._line(kind)
        if line.news > RENEWED_SHARE * line.known or self._learned - line.learned > RENEWED_ANSWERS:
            line.samples.clear()
        found = line.samples.get(kind.most_tokens)
        return found if found is not None else self._renewed(line, kind.most_tokens)

    def _whole(self, kind: Kind, tokens: int) -> int:
        self._drawn = (self._drawn + GOLDEN) % 1
        longer = self.sample(msgspec.structs.replace(kind, most_tokens=None))
        return round(longer.quantile(self._drawn, so_far=tokens))

    def _line(self, kind: Kind) -> _Line:
        most = kind.most_tokens
        octave = 0 if most is None else most.bit_length()
        prompt = int(math.log2(kind.prompt_tokens or 1) * self._finest)
        key = (kind.tenant, kind.task, kind.model, octave, prompt)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(tuple(self._classes_of(kind, octave)))
            if len(self._lines) > self._most:
                self._lines.popitem(last=False)
        else:
            self._lines.move_to_end(key)
        return line

    def _classes_of(self, kind: Kind, octave: int) -> list[_Class]:
        found = []
        values = {"model": kind.model, "task": kind.task, "tenant": kind.tenant, "most": octave}
        for level in self._levels:
            # A level that tells this request from nobody would only count the same answers again.
            if level.fields and not values[level.fields[-1]] and level.fields[-1] != "model" and not level.per_octave:
                continue
            if "tenant" in level.fields and not kind.tenant:
                continue
            prompt = int(math.log2(kind.prompt_tokens or 1) * level.per_octave) if level.per_octave else None
            key = (level.fields, level.per_octave, *(values[field] for field in level.fields), prompt)
            held = self._root if not level.fields and not level.per_octave else self._classes.get(key)
            if held is None:
                held = self._classes[key] = _Class(level)
            found.append(held)
        return found

    def _renewed(self, line: _Line, most_tokens: int | None) -> Sample:
        if len(line.samples) >= SAMPLES:
            line.samples.clear()
        remaining, parts = 1.0, []
        for each in reversed(line.classes):
            answers = each.heavy / each.unit
            share = remaining * answers / (answers + each.borrows)
            if share > LEAST_SHARE:
                parts.append((share / each.heavy, each.weights))
            remaining *= each.borrows / (answers + each.borrows)
        lent = max(remaining, LEAST_SHARE)
        shares = [lent * share for share in PRIOR]
        for part, weights in parts:
            shares = [share + part * weight for share, weight in zip(shares, weights, strict=True)]
        line.known, line.learned, line.news = line.classes[-1].answers, self._learned, 0
        sample = line.samples[most_tokens] = Sample(shares, self._root.answers, most_tokens)
        return sample
