"""The workload of a run: from options to a `Spec`, from a `Spec` to arrivals. The front of this package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import count, islice
from pathlib import Path
from random import Random

from benchmarks.workload import process
from benchmarks.workload.arrival import Arrival, Kind, Prompt
from benchmarks.workload.lengths import MOST
from benchmarks.workload.mix import applied
from benchmarks.workload.options import SEEDS, add_arguments, spec_in
from benchmarks.workload.prompts import cycled, prompts_in
from benchmarks.workload.served import Served
from benchmarks.workload.shape import Shape, fitted
from benchmarks.workload.spec import Spec, Trace, described
from benchmarks.workload.synthetic import SharedPrefix, Synthetic, filled
from benchmarks.workload.tokenizer import Folder, Tokenizer
from benchmarks.workload.trace import Sampling, cut, spread, trace_in

# Without a tokenizer a word is taken for a token, and a long prompt must fit all the same.
WORDS_PER_TOKEN = 0.5
# A day at 25 requests a second. More would fill the memory before the run begins.
MOST_SHAPES = 2_000_000

__all__ = ["Spec", "Trace", "add_arguments", "arrivals_of", "described", "spec_in"]


def arrivals_of(spec: Spec, run: int = 0) -> Iterator[Arrival]:
    """In order of time; without end for users without a count of requests. Files and tokenizer are read at once.

    Another `run`, any whole number, has the same arrivals and lengths with other words: no prefix cache answers it.
    Raises ValueError, or OSError, with a sentence. Making a prompt of 1,000 words takes some tens of microseconds.
    """
    shapes = _shapes(spec)
    if spec.shared_prefix is not None:
        shapes = _prefixed(shapes, spec.shared_prefix, _rng(spec, "prefixes"))
    if spec.context_tokens is not None:
        shapes = fitted(shapes, spec.context_tokens, 1.0 if spec.tokenizer else WORDS_PER_TOKEN)
    synthetic = Synthetic(
        tokenizer_of(spec.tokenizer, spec.model),
        spec.kind,
        seed=spec.prompt_seed % SEEDS * SEEDS + run % SEEDS,
        as_ids=spec.token_ids,
    )
    asked = _from_file(spec, spec.prompts, shapes, synthetic) if spec.prompts else filled(shapes, synthetic)
    arrivals = (_arrival(spec, shape, prompt) for shape, prompt in asked)
    return islice(applied(arrivals, spec.mix, _rng(spec, "mix")), spec.requests)


@lru_cache(4)
def tokenizer_of(where: str, model: str) -> Tokenizer | None:
    """By what `Spec.tokenizer` says: an address, a folder, or none. Raises ValueError with a sentence."""
    if "://" in where:
        return Served(where, model)
    return Folder(Path(where)) if where else None


def _shapes(spec: Spec) -> Iterator[Shape]:
    if spec.trace is not None:
        return _traced(spec, spec.trace)
    return _with_lengths(spec, (Shape(at_s, 0) for at_s in _times(spec)))


def _times(spec: Spec) -> Iterator[float]:
    if spec.rate is None:
        return process.at_once()
    times = process.gamma(spec.rate, spec.burstiness, _rng(spec, "times"))
    return times if spec.duration_s is None else process.within(times, spec.duration_s)


def _traced(spec: Spec, trace: Trace) -> Iterator[Shape]:
    """Read whole before the run: a wrong line must not end a run that has begun. Users go round it without end."""
    limit_s = spec.duration_s if spec.open else None
    shapes = trace_in(trace.path, trace.kind, Sampling(trace.keep, trace.sessions_per_h, spec.seed))
    if trace.spread_s:
        shapes = spread(shapes, trace.spread_s, _rng(spec, "spread"))
    shapes = cut(shapes, start_s=trace.start_s, scale=trace.scale, limit_s=limit_s)
    found = list(_with_lengths(spec, islice(shapes, spec.requests or MOST_SHAPES)))
    if not found:
        raise ValueError(f"{trace.path}: no request comes after {trace.start_s:g} s within the time of the run")
    if len(found) == MOST_SHAPES:
        raise ValueError(f"{trace.path}: above {MOST_SHAPES:,} requests; take less by --duration, --requests or --keep")
    return iter(found) if spec.open else (found[number % len(found)] for number in count())


def _with_lengths(spec: Spec, shapes: Iterator[Shape]) -> Iterator[Shape]:
    """Those that their trace does not tell, by the options."""
    rng, output = _rng(spec, "lengths"), spec.output_tokens
    for shape in shapes:
        if shape.input_tokens:
            yield shape
        else:
            output_tokens = output.draw(rng) if output else None
            yield replace(shape, input_tokens=spec.input_tokens.draw(rng), output_tokens=output_tokens)


def _prefixed(shapes: Iterator[Shape], prefix: SharedPrefix, rng: Random) -> Iterator[Shape]:
    """With one of the shared prefixes in front of those that share nothing yet."""
    for shape in shapes:
        yield shape if shape.segments else replace(shape, segments=(prefix.drawn(rng),))


def _from_file(spec: Spec, path: Path, shapes: Iterator[Shape], synthetic: Synthetic) -> Iterator[tuple[Shape, Prompt]]:
    """Counted all at once, before the run: a tokenizer has no place in it. What is known to be too long is left out."""
    most = (spec.context_tokens or MOST) - 1
    found = [prompt for prompt in synthetic.counted(prompts_in(path)) if (prompt.tokens or 0) <= most]
    if not found:
        raise ValueError(f"{path}: every prompt in it is longer than the {most:,} tokens that the model takes")
    return zip(shapes, cycled(found, _rng(spec, "prompts")), strict=False)


def _arrival(spec: Spec, shape: Shape, prompt: Prompt) -> Arrival:
    return Arrival(
        prompt=prompt,
        at_s=shape.at_s if spec.open else 0.0,
        output_tokens=_output_tokens(spec, shape, prompt),
        kind=spec.kind,
        stream=spec.stream and spec.kind is not Kind.EMBEDDING,
        tier=shape.tier,
        task=shape.task,
        tenant=shape.tenant,
    )


def _output_tokens(spec: Spec, shape: Shape, prompt: Prompt) -> int | None:
    """No more than the context leaves beside a prompt that is as it is."""
    if spec.kind is Kind.EMBEDDING or shape.output_tokens is None:
        return None
    left = (spec.context_tokens or MOST) - (prompt.tokens or 0)
    return max(min(shape.output_tokens, left), 1)


def _rng(spec: Spec, purpose: str) -> Random:
    """One stream of chance for each purpose: another length must not move the arrivals."""
    return Random(f"{spec.seed} {purpose}")
