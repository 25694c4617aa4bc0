"""How well the lengths of answers are foretold from those before them, trace by trace, each request before its answer.

`learned` is router.spilling.lengths with all that the trace says of a request (tenant, task, length of its prompt);
`all alike` is the same with nothing said: one distribution of the newest answers, and its mean. Every answer is learned
at once. An error is in tokens; of the rest it is that of an answer's remaining tokens when it has 32, 128 and 512.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.workload.shape import Shape
from benchmarks.workload.trace import TraceKind, trace_in
from router.spilling.lengths import Kind, Lengths
from router.spilling.sample import Sample

SO_FAR = (32, 128, 512)
LOW, HIGH = 0.5, 0.9
# Nothing is scored as less likely than this: 40 bits.
LEAST = 2**-40


class Figures(NamedTuple):
    """Means over the requests of a trace. Nothing (None) where no answer was so long."""

    mean_error: float
    low_loss: float
    high_loss: float
    low_cover: float
    high_cover: float
    bits: float
    rest_error: float | None


class Score:
    """Of one who foretells, on one trace. Grows with every answer."""

    def __init__(self) -> None:
        self.requests = 0
        self._sums = [0.0] * 6
        self._rests = 0
        self._rest_sum = 0.0

    def add(self, said: Sample, tokens: int) -> None:
        """What was said of an answer, and what came. Pinball loss: Koenker and Bassett, Regression Quantiles, 1978."""
        low, high = said.quantile(LOW), said.quantile(HIGH)
        likely = max(said.longer(tokens - 1) - said.longer(tokens), LEAST)
        terms = (
            abs(said.mean - tokens),
            _pinball(LOW, low, tokens),
            _pinball(HIGH, high, tokens),
            float(tokens <= low),
            float(tokens <= high),
            -math.log2(likely),
        )
        self._sums = [total + term for total, term in zip(self._sums, terms, strict=True)]
        self.requests += 1
        for so_far in SO_FAR:
            if tokens > so_far:
                self._rests += 1
                self._rest_sum += abs(said.left(so_far) - (tokens - so_far))

    def figures(self) -> Figures:
        """Raises ZeroDivisionError where there was no answer."""
        means = [total / self.requests for total in self._sums]
        rest = self._rest_sum / self._rests if self._rests else None
        return Figures(means[0], means[1], means[2], means[3], means[4], means[5], rest)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("--trace", type=Path, nargs="+", required=True, metavar="FILE", help="traces to foretell")
    parser.add_argument("--trace-kind", type=TraceKind, choices=list(TraceKind), default=TraceKind.AUTO)
    parser.add_argument("--first", type=int, metavar="N", help="only so many requests of each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")


def main(options: argparse.Namespace) -> int:
    """Print the table. Raises ValueError, OSError."""
    if options.first is not None and options.first < 1:
        raise ValueError(f"--first must be 1 or more, not {options.first}")
    found = {}
    for path in options.trace:
        shapes = islice(trace_in(path, options.trace_kind), options.first)
        found[path.name] = scored(path, shapes)
    Console(width=150).print(_table(found))
    if options.json is not None:
        rows = {name: {who: each.figures()._asdict() for who, each in by.items()} for name, by in found.items()}
        options.json.write_text(json.dumps(rows, indent=1))
    return 0


def scored(path: Path, shapes: Iterable[Shape]) -> dict[str, Score]:
    """Each request foretold, then learned. Raises ValueError where the trace says no answer's length."""
    learned, alike = Lengths(), Lengths()
    scores = {"learned": Score(), "all alike": Score()}
    for kind, tokens in _answers(path, shapes):
        scores["learned"].add(learned.sample(kind), tokens)
        scores["all alike"].add(alike.sample(Kind()), tokens)
        learned.learn(kind, tokens)
        alike.learn(Kind(), tokens)
    return scores


def _answers(path: Path, shapes: Iterable[Shape]) -> Iterator[tuple[Kind, int]]:
    for shape in shapes:
        if shape.output_tokens is None:
            raise ValueError(f"{path}: it does not say how long answers are; give a trace of requests")
        yield Kind(tenant=shape.tenant, task=shape.task, prompt_tokens=shape.input_tokens), shape.output_tokens


def _pinball(q: float, said: float, tokens: int) -> float:
    return q * (tokens - said) if tokens > said else (1 - q) * (said - tokens)


def _table(found: dict[str, dict[str, Score]]) -> Table:
    table = Table(title="lengths of answers foretold; tokens unless said otherwise")
    table.add_column("trace")
    table.add_column("foretold by")
    names = ("requests", "error of mean", "pinball 0.5", "pinball 0.9", "<= q0.5", "<= q0.9", "bits", "error of rest")
    for name in names:
        table.add_column(name, justify="right")
    for trace, scores in found.items():
        for who, score in scores.items():
            each = score.figures()
            table.add_row(
                trace,
                who,
                f"{score.requests:,}",
                *(f"{tokens:.1f}" for tokens in (each.mean_error, each.low_loss, each.high_loss)),
                *(f"{share:.1%}" for share in (each.low_cover, each.high_cover)),
                f"{each.bits:.2f}",
                "" if each.rest_error is None else f"{each.rest_error:.1f}",
            )
        table.add_section()
    return table
