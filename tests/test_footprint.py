"""The sum of what an engine takes on each GPU: terms estimated, and terms measured in their place."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.memory import ollama, working
from engines.memory.footprint import footprint
from engines.memory.measured import Measured
from engines.memory.shape import Shape
from engines.models.lock import LockedFile
from engines.models.weights import Weights
from tests.locked import GIB, LLAMA_8B, card, locked, shape

MIB = 2**20


def test_an_8b_on_an_h100_is_near_what_vllm_logs() -> None:
    # vLLM: "Model loading took 14.99 GiB"; activations of about 1 GiB at 8192 tokens; graphs of 0.3 to 0.8 GiB.
    taken = footprint(locked(), shape(), card())
    assert round(taken.weights_bytes / GIB, 2) == 14.99
    assert 0.8 * GIB < taken.activation_bytes < 1.6 * GIB
    assert 0.3 * GIB < taken.graph_bytes < 0.8 * GIB
    assert 0.4 * GIB < taken.outside_bytes < 1.0 * GIB
    assert taken.inside_bytes == taken.weights_bytes + taken.activation_bytes + taken.graph_bytes
    assert taken.measured == frozenset()


def test_measured_terms_replace_estimates_and_are_named() -> None:
    estimated = footprint(locked(), shape(), card())
    known = Measured(weights_bytes=1, graph_bytes=0, kv_bytes=7, load_s=3.0)
    taken = footprint(locked(), shape(), card(), known)
    assert taken.measured == {"weights_bytes", "graph_bytes"}
    assert (taken.weights_bytes, taken.graph_bytes) == (1, 0)
    assert taken.activation_bytes == estimated.activation_bytes
    assert taken.outside_bytes == estimated.outside_bytes
    assert footprint(locked(), shape(), card(), Measured()) == estimated


def test_the_pool_for_requests_is_that_of_the_kv_layout() -> None:
    taken = footprint(locked(), shape(), card())
    per_request = 8192 * 131072
    assert 3 * per_request <= taken.least_kv_bytes(3) <= 3 * per_request + 2 * 16 * 131072


def test_two_gpus_take_half_the_weights_and_nccl_besides() -> None:
    one, two = (footprint(locked(), shape(size), card()) for size in (1, 2))
    assert two.weights_bytes == pytest.approx(one.weights_bytes / 2, rel=0.01)
    assert two.outside_bytes == one.outside_bytes + working.NCCL_BYTES
    assert two.activation_bytes < one.activation_bytes


def test_eager_engines_have_no_graphs() -> None:
    assert footprint(locked(), shape(enforce_eager=True), card()).graph_bytes == 0


@pytest.mark.parametrize(
    ("seqs", "tokens", "sizes"),
    [
        (1, 2048, (1, 2)),
        (4, 2048, (1, 2, 4, 8)),
        (16, 8192, (1, 2, 4, 8, 16, 24, 32)),
        (13, 8192, (1, 2, 4, 8, 13, 16, 24)),
        (256, 20, (1, 2, 4, 8, 16, 20)),
    ],
)
def test_graphs_are_captured_for_the_sizes_that_vllm_captures(seqs: int, tokens: int, sizes: tuple[int, ...]) -> None:
    assert working.capture_sizes(shape(max_num_seqs=seqs, max_num_batched_tokens=tokens)) == sizes


def test_by_default_51_sizes_are_captured_and_more_on_data_centre_blackwell() -> None:
    # vLLM's log: "Profiling CUDA graph memory: PIECEWISE=51 (largest=512), FULL=35 (largest=256)".
    sizes = working.capture_sizes(shape(max_num_seqs=256))
    assert len(sizes) == 51
    assert sum(size <= 256 for size in sizes) == 35
    assert working.capture_sizes(shape(max_num_seqs=1024))[-1] == 512
    assert working.capture_sizes(shape(max_num_seqs=1024), (10, 0))[-1] == 1024


def test_a_vision_tower_and_experts_ask_for_more_than_a_plain_model() -> None:
    plain = working.activation_bytes(LLAMA_8B, shape())
    vision = working.activation_bytes(replace(LLAMA_8B, vision_heads=16), shape())
    experts = working.activation_bytes(replace(LLAMA_8B, experts=128, expert_size=768), shape())
    assert vision > plain + GIB // 4
    assert experts > plain


def test_sampling_that_the_profile_skips_is_kept_free_where_the_model_leaves_no_room_for_it() -> None:
    small = replace(LLAMA_8B, hidden_size=512, intermediate_size=1024, heads=8, head_size=64, vocabulary=256_000)
    few = working.outside_bytes(small, shape(max_num_seqs=8, max_num_batched_tokens=2048))
    many = working.outside_bytes(small, shape(max_num_seqs=1024, max_num_batched_tokens=2048))
    assert few == working.CONTEXT_BYTES
    # Two copies of the logits in fp32, less what the forward pass left.
    assert 1.5 * GIB < many - few < 2 * 1024 * 256_000 * 4


def test_a_measured_start_had_sampled_nothing_so_that_room_is_kept_besides() -> None:
    small = locked(hidden_size=512, intermediate_size=1024, heads=8, head_size=64, vocabulary=256_000)
    many = shape(max_num_seqs=1024, max_num_batched_tokens=2048)
    estimated, taken = (footprint(small, many, card(), known) for known in (None, Measured(outside_bytes=GIB // 2)))
    assert taken.outside_bytes - GIB // 2 == estimated.outside_bytes - working.CONTEXT_BYTES > GIB


def test_the_checkpoints_quantization_and_the_card_decide_how_experts_are_padded() -> None:
    weights = Weights(expert_bytes=10 * GIB)
    model = locked("mxfp4", weights, hidden_size=2880, intermediate_size=2880, experts=32, expert_size=2880)
    hopper, ada = (footprint(model, shape(), card(capability)) for capability in ((9, 0), (8, 9)))
    assert hopper.weights_bytes == 10 * GIB
    assert ada.weights_bytes == pytest.approx(10 * GIB * 2944 / 2880 * 3072 / 2880)


shapes = st.builds(
    Shape,
    tensor_parallel=st.sampled_from([1, 2, 4, 8]),
    context_tokens=st.integers(16, 131072),
    max_num_seqs=st.integers(1, 1024),
    max_num_batched_tokens=st.integers(16, 32768),
    quantization=st.sampled_from([None, "fp8", "mxfp8"]),
    enforce_eager=st.booleans(),
)


@given(shapes, st.sampled_from([(7, 5), (9, 0), (10, 0), None]))
def test_no_term_is_ever_negative_and_more_load_never_takes_less(
    wanted: Shape, capability: tuple[int, int] | None
) -> None:
    here = footprint(locked(), wanted, card(capability))
    assert min(here.weights_bytes, here.activation_bytes, here.outside_bytes) > 0
    assert here.graph_bytes >= 0
    more_seqs = footprint(locked(), replace(wanted, max_num_seqs=wanted.max_num_seqs + 64), card(capability))
    more_tokens = replace(wanted, max_num_batched_tokens=wanted.max_num_batched_tokens + 4096)
    more_tokens_taken = footprint(locked(), more_tokens, card(capability))
    assert more_seqs.inside_bytes >= here.inside_bytes
    assert more_tokens_taken.activation_bytes >= here.activation_bytes
    assert here.inside_bytes < 40 * GIB


def test_ollama_predicts_the_file_and_16_bit_keys_and_values_of_all_slots() -> None:
    model = replace(locked(), files=(LockedFile("model.gguf", "0" * 64, 4_920_000_000),))
    per_token = 2 * 32 * 8 * 128 * 2
    assert ollama.kv_bytes_per_token(model.architecture) == per_token
    assert ollama.predicted_bytes(model, 8192, 4) == 4_920_000_000 + per_token * 8192 * 4


def test_llama_cpps_compute_buffer_of_an_8b_is_near_what_it_logs() -> None:
    # "CUDA0 compute buffer size = 258.50 MiB"
    assert ollama.compute_bytes(LLAMA_8B) == pytest.approx(258.5 * MIB, rel=0.1)


def test_an_ollama_model_spread_over_gpus_takes_its_part_of_each() -> None:
    model = replace(locked(), files=(LockedFile("model.gguf", "0" * 64, 4_920_000_000),))
    one, two = (ollama.footprint(model, 8192, 4, gpus) for gpus in (1, 2))
    assert one.weights_bytes == 4_920_000_000
    assert two.weights_bytes == 2_460_000_000
    assert two.outside_bytes == one.outside_bytes > 0
    predicted = ollama.predicted_bytes(model, 8192, 4)
    assert one.weights_bytes + one.least_kv_bytes(4) == pytest.approx(predicted, rel=1e-4)
    assert one.kv.requests_in(one.least_kv_bytes(4)) == pytest.approx(4, rel=1e-3)
