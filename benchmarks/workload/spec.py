"""What a workload is: all that was asked for on the command line, checked. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.workload.arrival import Kind
from benchmarks.workload.lengths import Lengths
from benchmarks.workload.mix import Mix
from benchmarks.workload.synthetic import SharedPrefix
from benchmarks.workload.trace import TraceKind

USERS = 8
DURATION_S = 30.0
INPUT_TOKENS = Lengths("fixed", (512.0,))
OUTPUT_TOKENS = Lengths("fixed", (128.0,))
FEWEST_CONTEXT_TOKENS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A trace and how it is run: `scale` times as fast, from `start_s` on, same moments spread over `spread_s`.

    `keep` is the share of its requests that is taken; of an agentic trace, `sessions_per_h` begin.
    """

    path: Path
    kind: TraceKind = TraceKind.AUTO
    scale: float = 1.0
    start_s: float = 0.0
    spread_s: float = 0.0
    keep: float = 1.0
    sessions_per_h: float = 60.0

    @property
    def name(self) -> str:
        """Of the file, without what it is packed in."""
        return self.path.name.split(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A rate is requests per second in an open loop; users are a closed loop; a trace without users is an open loop.

    `duration_s` None: as long as the requests or the trace last. `output_tokens` None: the model decides. `tokenizer`
    is a folder, the address of a server with `/tokenize`, or empty. `seed` decides when, how long and who,
    `prompt_seed` which words: it changes from run to run, lest the engine answer from its prefix cache.
    """

    rate: float | None = None
    users: int | None = None
    burstiness: float = 1.0
    think_s: float = 0.0
    duration_s: float | None = DURATION_S
    requests: int | None = None
    trace: Trace | None = None
    prompts: Path | None = None
    input_tokens: Lengths = INPUT_TOKENS
    output_tokens: Lengths | None = OUTPUT_TOKENS
    shared_prefix: SharedPrefix | None = None
    context_tokens: int | None = None
    mix: Mix = field(default_factory=Mix)
    kind: Kind = Kind.CHAT
    stream: bool = True
    token_ids: bool = False
    tokenizer: str = ""
    model: str = ""
    seed: int = 0
    prompt_seed: int = 0

    @property
    def open(self) -> bool:
        """Requests come by the clock, whether or not answers do."""
        return self.users is None

    @property
    def name(self) -> str:
        """What tells this load from others of a search: `rate 4`, `8 users`, `azure2023_conv x 2`."""
        if self.users is not None:
            return f"{self.users} user{'s' if self.users > 1 else ''}"
        return f"{self.trace.name} x {self.trace.scale:g}" if self.trace else f"rate {self.rate:g}"

    def __post_init__(self) -> None:
        """Raises ValueError, with a sentence, on what cannot be run."""
        wrong = next((said for said, found in _contradictions(self).items() if found), None)
        if wrong:
            raise ValueError(wrong)
        for option, (value, above) in _limits(self).items():
            if value is not None and not above < value < float("inf"):
                raise ValueError(f"{option} {value:g} must be above {above:g}")
        waits = (self.think_s, self.trace.start_s if self.trace else 0, self.trace.spread_s if self.trace else 0)
        if not all(0 <= wait_s < float("inf") for wait_s in waits):
            raise ValueError("--think-s, --trace-start and --spread must be 0 seconds or more")


def _contradictions(spec: Spec) -> Mapping[str, bool]:
    """What does not go together, by the sentence that says so."""
    traced, rated = spec.trace is not None, spec.rate is not None
    return {
        "--rate and --users exclude each other: a rate is an open loop, users are a closed one": not traced
        and rated == (spec.users is not None),
        "--rate and --trace exclude each other: a trace has arrivals of its own; use --scale": traced and rated,
    }


def _limits(spec: Spec) -> Mapping[str, tuple[float | None, float]]:
    """What each number must be above, where it is given."""
    trace = spec.trace
    if trace and not 0 < trace.keep <= 1:
        raise ValueError(f"--keep {trace.keep:g} must be above 0 and at most 1: a share of the requests")
    return {
        "--rate": (spec.rate, 0),
        "--users": (spec.users, 0),
        "--burstiness": (spec.burstiness, 0),
        "--duration": (spec.duration_s, 0),
        "--requests": (spec.requests, 0),
        "--scale": (trace.scale if trace else None, 0),
        "--sessions-per-h": (trace.sessions_per_h if trace else None, 0),
        "--context": (spec.context_tokens, FEWEST_CONTEXT_TOKENS - 1),
    }


def described(spec: Spec) -> dict[str, Any]:
    """For the report: all that is needed to run it again, and whether prompt lengths are exact tokens or only words."""
    found: dict[str, Any] = {
        "name": spec.name,
        "loop": "open" if spec.open else "closed",
        "rate": spec.rate,
        "burstiness": spec.burstiness if spec.rate is not None else None,
        "users": spec.users,
        "think_s": spec.think_s if spec.users is not None else None,
        "duration_s": spec.duration_s,
        "requests": spec.requests,
        "kind": str(spec.kind),
        "stream": spec.stream,
        **_prompts_of(spec),
        "output_tokens": _told(spec, spec.output_tokens) if spec.kind is not Kind.EMBEDDING else None,
        "context_tokens": spec.context_tokens,
        "mix": str(spec.mix) or None,
        "seed": spec.seed,
    }
    return {name: value for name, value in found.items() if value is not None}


def _prompts_of(spec: Spec) -> dict[str, Any]:
    trace, synthetic = spec.trace, spec.prompts is None
    return {
        "trace": trace and trace.path.name,
        "trace_kind": trace and str(trace.kind),
        "scale": trace and trace.scale,
        "trace_start_s": (trace and trace.start_s) or None,
        "keep": trace and trace.keep,
        "spread_s": (trace and trace.spread_s) or None,
        "prompts": spec.prompts.name if spec.prompts else "synthetic",
        "input_tokens": _told(spec, spec.input_tokens) if synthetic else None,
        "shared_prefix": str(spec.shared_prefix) if spec.shared_prefix and synthetic else None,
        "tokenizer": _tokenizer_name(spec.tokenizer),
        "exact_lengths": bool(spec.tokenizer) if synthetic else None,
        "token_ids": spec.token_ids or None,
        "prompt_seed": spec.prompt_seed if synthetic else None,
    }


def _told(spec: Spec, lengths: Lengths | None) -> str:
    """A trace's own lengths go before those of the options."""
    found = str(lengths) if lengths else "model"
    return f"trace, else {found}" if spec.trace else found


def _tokenizer_name(tokenizer: str) -> str:
    """Folders are of one machine: only the last part is told."""
    if not tokenizer:
        return "none: lengths are in words"
    return tokenizer if "://" in tokenizer else Path(tokenizer).resolve().name
