"""Do the engine's own counters agree with what the answers said? Two counts of the same tokens, taken apart. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.drive.sample import Sample
from benchmarks.figures.summary import CLOUD, tokens_of

# vLLM counts a token when a step ends: the last steps before either look may be missing.
TOLERANCE = 0.02
LEAST_TOKENS = 50


def disagreements(
    samples: Iterable[Sample], prompt_tokens: int | None, generation_tokens: int | None, *, unfinished: int = 0
) -> list[str]:
    """What the engines counted against what their answers said, in sentences; empty where the two agree.

    A failure may have cost the engine any number of tokens, and so may a request that was under way when the run was
    stopped: a run with such ones is only checked for too few.
    """
    here = [sample for sample in samples if not sample.target.startswith(CLOUD)]
    is_clean = not unfinished and all(sample.ok for sample in here)
    complete = [sample for sample in here if sample.ok]
    sides = (
        ("prompt", prompt_tokens, sum(sample.prompt_tokens for sample in complete)),
        ("output", generation_tokens, sum(map(tokens_of, complete))),
    )
    found = (_sentence(name, counted, said, is_clean) for name, counted, said in sides if counted is not None)
    return [sentence for sentence in found if sentence]


def _sentence(name: str, counted: int, said: int, is_clean: bool) -> str | None:
    tolerated = max(TOLERANCE * max(counted, said), LEAST_TOKENS)
    if said - counted > tolerated:
        why = "an engine was restarted or not asked, or the answers count wrong"
    elif counted - said > tolerated and is_clean:
        why = "somebody else used it, or the answers count wrong"
    else:
        return None
    return f"the engine counted {counted} {name} tokens, the answers {said}: {why}"
