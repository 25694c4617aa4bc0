"""Stretches of a trace at a wanted rate, with prompts and answers made shorter. Reads a file; else pure.

Below its own rate a stretch is thinned, above it the stretches that follow are laid over it: bursts stay as short as
they were (as in `benchmarks.simulator.scaling`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from random import Random

from benchmarks.workload.arrival import Arrival, Kind
from benchmarks.workload.shape import Shape, fitted
from benchmarks.workload.synthetic import Synthetic, filled
from benchmarks.workload.tokenizer import Folder
from benchmarks.workload.trace import TraceKind, cut, trace_in


@dataclass(frozen=True, slots=True)
class Source:
    """A trace whose prompts and answers are `shrink` times shorter, cut to `context_tokens` together.

    `folder` has the tokenizer by which prompts are made; stretches last `seconds`, the first begins at `start_s`.
    """

    path: Path
    kind: TraceKind
    folder: Path
    shrink: float
    context_tokens: int
    seconds: float
    start_s: float
    seed: int

    def shapes(self, number: int, rate: float) -> Sequence[Shape]:
        """Of stretch `number`: as many as `rate` makes in its time. Raises ValueError where the trace is over."""
        wanted = max(round(rate * self.seconds), 1)
        found = list[tuple[float, Shape]]()
        layer = 0
        while len(found) < wanted:
            start_s = self.start_s + (number + layer) * self.seconds
            rng = Random(f"{self.seed} {start_s}")
            stretch = list(cut(trace_in(self.path, self.kind), start_s=start_s, scale=1.0, limit_s=self.seconds))
            if not stretch:
                raise ValueError(
                    f"{self.path}: it has no request in the {self.seconds:g} s after {start_s:g} s, and {wanted} are "
                    "wanted; begin earlier by --trace-start, or ask for a smaller load"
                )
            found += [(rng.random(), shape) for shape in stretch]
            layer += 1
        kept = [shape for _, shape in sorted(found, key=lambda pair: pair[0])[:wanted]]
        return [self._shrunk(shape) for shape in sorted(kept, key=attrgetter("at_s"))]

    def _shrunk(self, shape: Shape) -> Shape:
        tokens = max(math.ceil(shape.input_tokens / self.shrink), 1)
        answer = max(math.ceil((shape.output_tokens or 1) / self.shrink), 2)
        return replace(shape, input_tokens=tokens, output_tokens=answer, segments=(), tier="", task="", tenant="")


def arrivals(source: Source, number: int, rate: float, run: int) -> Sequence[Arrival]:
    """With prompts; another `run` has the same arrivals and lengths with other words, so that no cache answers it."""
    synthetic = Synthetic(Folder(source.folder), Kind.CHAT, seed=run)
    return list(_filled(fitted(source.shapes(number, rate), source.context_tokens), synthetic))


def _filled(shapes: Iterator[Shape], synthetic: Synthetic) -> Iterator[Arrival]:
    for shape, prompt in filled(shapes, synthetic):
        yield Arrival(prompt, at_s=shape.at_s, output_tokens=shape.output_tokens)
