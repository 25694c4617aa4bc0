"""Three generators and how each is told to make the same load: ours, vLLM's and guidellm's. Runs them as processes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from benchmarks.drive.sample import Sample
from benchmarks.proof.process import Spent, run
from benchmarks.proof.work import BLOCK_TOKENS, MS_PER_S, Work, write
from benchmarks.report.document import Run
from benchmarks.report.imported import document_in

# Neither looks for anything outside of the machine.
OFFLINE = MappingProxyType({"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"})
# Its own script may lack a package that it does not need here; its function does not.
VLLM_SCRIPT = """
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""


@dataclass(frozen=True, slots=True)
class Target:
    """Where all of them send, and the folder of the model's tokenizer."""

    url: str
    model: str
    tokenizer: Path


class Generator(Protocol):
    """One of them. `statuses` are those with which it ends when it has measured; `environment` is added to ours."""

    @property
    def name(self) -> str: ...

    @property
    def statuses(self) -> Sequence[int]: ...

    @property
    def environment(self) -> Mapping[str, str]: ...

    def command(self, target: Target, work: Work, trace: Path, out: Path) -> list[str]:
        """Its command line; it writes its result to `out`."""


@dataclass(frozen=True, slots=True)
class Ours:
    """`python -m benchmarks load`. It ends with 1 where an answer failed, or it was late itself: that is shown."""

    name: str = "spillway"
    statuses: Sequence[int] = (0, 1)
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, target: Target, work: Work, trace: Path, out: Path) -> list[str]:
        """Prompts are token ids of the lengths in the trace."""
        words = [sys.executable, "-m", "benchmarks", "load", "--url", target.url, "--model", target.model]
        words += ["--kind", "completion", "--token-ids", "--tokenizer", str(target.tokenizer)]
        words += ["--trace", str(trace), "--trace-kind", "mooncake", "--requests", str(work.requests)]
        words += ["--users", str(work.users)] if work.users else []
        return [*words, "--json", str(out)]


@dataclass(frozen=True, slots=True)
class Vllm:
    """`vllm bench serve`, by the Python that vLLM is installed for."""

    python: str
    name: str = "vllm bench serve"
    statuses: Sequence[int] = (0,)
    environment: Mapping[str, str] = field(default_factory=lambda: OFFLINE)

    def command(self, target: Target, work: Work, trace: Path, out: Path) -> list[str]:
        """Prompts are token ids here too. Its progress bar is left out: it would count as the generator's time."""
        words = [self.python, "-c", VLLM_SCRIPT, "--backend", "openai", "--base-url", target.url]
        words += ["--endpoint", "/v1/completions", "--model", target.model, "--tokenizer", str(target.tokenizer)]
        words += ["--dataset-name", "timed_trace", "--dataset-path", str(trace), "--num-prompts", str(work.requests)]
        words += ["--timed-trace-chunk-hash-size", str(BLOCK_TOKENS)]
        words += ["--timed-trace-sec-multiplier", str(1 / MS_PER_S), "--ignore-eos", "--disable-tqdm"]
        words += ["--no-self-timed", "--max-concurrency", str(work.users)] if work.users else []
        words += ["--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "50,90,95,99"]
        return [
            *words,
            "--save-result",
            "--save-detailed",
            "--result-dir",
            str(out.parent),
            "--result-filename",
            out.name,
        ]


@dataclass(frozen=True, slots=True)
class Guidellm:
    """`guidellm run`, by the path of its program."""

    program: str
    name: str = "guidellm"
    statuses: Sequence[int] = (0,)
    # On one core its usual ten processes would only be in each other's way.
    environment: Mapping[str, str] = field(default_factory=lambda: {**OFFLINE, "GUIDELLM__MAX_WORKER_PROCESSES": "1"})

    def command(self, target: Target, work: Work, trace: Path, out: Path) -> list[str]:
        """It makes text of its own for the trace's lengths."""
        replay = {"kind": "replay", "schedule_turn": "timestamp", "time_scale": 1 / MS_PER_S}
        profile = {"kind": "concurrent", "streams": work.users} if work.users else replay
        # It would have the engine count tokens in every event, which the others do not ask for.
        options = {"stream_options": {"include_usage": True, "continuous_usage_stats": False}}
        backend = {"kind": "openai_http", "target": target.url, "model": target.model, "extras": {"body": options}}
        asked = {
            "backend": backend | {"request_format": "/v1/completions"},
            "profile": profile,
            "tokenizer": {"kind": "hf_auto", "model": str(target.tokenizer)},
            "data": {"kind": "mooncake", "source": {"kind": "json_file", "path": str(trace)}},
            "constraint": {"kind": "max_requests", "count": work.requests},
            "output": {"kind": "json", "path": str(out)},
        }
        words = [word for name, value in asked.items() for word in (f"--{name}", json.dumps(value))]
        return [self.program, "run", *words, "--disable-console"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of one generator: what it reported, the requests it kept, and what it cost."""

    run: Run
    samples: Sequence[Sample]
    spent: Spent


def turn(
    generator: Generator,
    target: Target,
    work: Work,
    out: Path,
    *,
    core: int | None = None,
    look: Callable[[int], None] = lambda _pid: None,
) -> Turn:
    """Run it and read its report; trace and log stand beside the report. Raises ValueError with a sentence."""
    out.parent.mkdir(parents=True, exist_ok=True)
    trace = out.with_suffix(".trace.jsonl")
    write(work, trace)
    out.unlink(missing_ok=True)
    command = generator.command(target, work, trace, out)
    spent = run(
        command,
        out.with_suffix(".log"),
        core=core,
        environment=generator.environment,
        statuses=generator.statuses,
        look=look,
    )
    if not out.exists():
        raise ValueError(f"{generator.name} wrote no report; see {out.with_suffix('.log')}")
    document, samples = document_in(out.read_bytes(), out.name)
    last = document.runs[-1]
    return Turn(last, samples.get(last.name, ()), spent)
