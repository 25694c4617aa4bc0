"""How long answers are here: learned from those that have ended, for each kind of request. Pure; one writer."""

from __future__ import annotations

import math
from collections import OrderedDict
from weakref import WeakValueDictionary

import msgspec

from router.spilling.answers import Answers
from router.spilling.borrowing import Borrowing, of_prior
from router.spilling.levels import FINEST, LEVELS, ClassKey, class_key, octave_of, prompt_class
from router.spilling.rungs import PRIOR, rung_of
from router.spilling.sample import Sample

# Lines that are remembered, some 16 kB each; of more, those that were not asked for longest are forgotten. Where they
# are forgotten (530 sessions of agents), nothing is foretold worse than with eight times as many.
LINES = 1024
# A level with a smaller part than this in the mixture is left out: it costs as much as a large one. The prior has at
# least as much, so that no length is impossible and the longest answers have a tail.
LEAST_SHARE = 1e-3
# Samples are made anew when their nearest class has learned so large a share of what it knew, or when everybody
# together has learned so large a share, or so many answers.
RENEWED_NEAREST = 1 / 32
RENEWED_SHARE = 1 / 8
RENEWED_ANSWERS = 256
# Samples of one line that `most_tokens` cuts. One so high that it cuts less than LEAST_SHARE of the answers changes
# nothing: agents ask for all that their context leaves, another number each time.
CUT = 4
GOLDEN = (math.sqrt(5) - 1) / 2
# Of one of whom nothing is known.
GUESS = Sample(PRIOR, 0.0)


class Kind(msgspec.Struct, frozen=True):
    """What is known of a request before it is answered; empty, 0: not known. `most_tokens` is its max_tokens."""

    tenant: str = ""
    task: str = ""
    model: str = ""
    most_tokens: int | None = None
    prompt_tokens: int = 0


class _Line:
    """The classes of a request, from afar to near, with what each borrows; and what they said when last asked."""

    __slots__ = ("_cut", "good_until", "levels", "news", "whole")

    def __init__(self, levels: tuple[tuple[Answers, Borrowing], ...]) -> None:
        self.levels = levels
        self.whole = GUESS
        self._cut: dict[int, Sample] = {}
        # The samples are good for so many answers of everybody, and until `news` of this line is above 0.
        self.good_until = -1.0
        self.news = 0.0

    def learn(self, rung: int) -> None:
        likely = PRIOR[rung]
        for answers, borrowing in self.levels:
            likely = answers.learn(rung, likely, borrowing)
        self.news += 1

    def renew(self, learned: int, answers: float) -> None:
        """The sample is made now, when everybody has learned so many answers and knows so many yet."""
        self._cut.clear()
        self.whole = Sample(self.shares(), answers)
        self.good_until = learned + min(RENEWED_ANSWERS, RENEWED_SHARE * learned)
        self.news = -RENEWED_NEAREST * self.levels[-1][0].known

    def cut(self, most_tokens: int) -> Sample:
        """The sample of answers that end there at the latest."""
        found = self._cut.get(most_tokens)
        if found is None:
            if len(self._cut) >= CUT:
                self._cut.clear()
            found = self._cut[most_tokens] = Sample(self.shares(), self.whole.answers, most_tokens)
        return found

    def shares(self) -> list[float]:
        """By rung, of any sum: each level's own, as far as the nearer ones borrow them."""
        remaining, parts = 1.0, []
        for answers, borrowing in reversed(self.levels):
            lent = remaining * borrowing.answers / (answers.known + borrowing.answers)
            if remaining - lent > LEAST_SHARE:
                parts.append(((remaining - lent) / answers.heavy, answers.weights))
            remaining = lent
        lent = max(remaining, LEAST_SHARE)
        shares = [lent * share for share in PRIOR]
        for part, weights in parts:
            shares = [share + part * weight for share, weight in zip(shares, weights, strict=True)]
        return shares


class Lengths:
    """One writer. Kinds with one tenant, task, model, class of max_tokens and finest class of prompts are one line.

    `lines` bounds the memory: a class lives as long as a line that it is in.
    """

    def __init__(self, lines: int = LINES) -> None:
        self._most = lines
        self._lines: OrderedDict[tuple[str, str, str, int, int], _Line] = OrderedDict()
        self._answers: WeakValueDictionary[ClassKey, Answers] = WeakValueDictionary()
        self._borrowings: WeakValueDictionary[tuple[str, str, int], Borrowing] = WeakValueDictionary()
        # All answers, and what they borrow: held here, every line has them.
        self._all = Answers(LEVELS[0].window), of_prior()
        self._learned = 0
        self._drawn = 0.5

    def learn(self, kind: Kind, tokens: int, *, cut: bool = False) -> None:
        """An answer had so many tokens. `cut`: it would have gone on, had its client stayed; one of `most_tokens` would
        have, too. It counts as one of the longer answers, drawn evenly from what is known of them.
        """
        if cut or (kind.most_tokens is not None and tokens >= kind.most_tokens):
            tokens = self._whole(kind, tokens)
        self._line(kind).learn(rung_of(tokens))
        self._learned += 1

    def sample(self, kind: Kind) -> Sample:
        """The distribution that holds for it now; where nothing was learned a wide guess, with 0 answers."""
        line = self._line(kind)
        if line.news > 0 or self._learned > line.good_until:
            line.renew(self._learned, self._all[0].known)
        most, whole = kind.most_tokens, line.whole
        return whole if most is None or whole.longer(most) <= LEAST_SHARE else line.cut(most)

    def _whole(self, kind: Kind, tokens: int) -> int:
        self._drawn = (self._drawn + GOLDEN) % 1
        unbounded = msgspec.structs.replace(kind, most_tokens=None)
        return round(self.sample(unbounded).quantile(self._drawn, so_far=tokens))

    def _line(self, kind: Kind) -> _Line:
        octave, prompt = octave_of(kind.most_tokens), prompt_class(kind.prompt_tokens, FINEST)
        key = (kind.tenant, kind.task, kind.model, octave, prompt)
        line = self._lines.get(key)
        if line is not None:
            self._lines.move_to_end(key)
            return line
        line = self._lines[key] = _Line(self._levels(kind, octave))
        if len(self._lines) > self._most:
            self._lines.popitem(last=False)
        return line

    def _levels(self, kind: Kind, octave: int) -> tuple[tuple[Answers, Borrowing], ...]:
        values: dict[str, str | int] = {
            "model": kind.model,
            "task": kind.task,
            "tenant": kind.tenant,
            "most": octave,
        }
        found = {class_key(LEVELS[0], values, kind.prompt_tokens): self._all}
        for number, level in enumerate(LEVELS):
            key = class_key(level, values, kind.prompt_tokens)
            if key not in found:
                answers = self._answers.setdefault(key, Answers(level.window))
                found[key] = answers, self._borrowings.setdefault((kind.model, kind.task, number), Borrowing())
        return tuple(found.values())
