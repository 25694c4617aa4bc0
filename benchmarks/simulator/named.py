"""Engines that ship: their speed in a few numbers, fitted by `calibration`, so that nobody needs the tables.

RTX 4090 and RTX PRO 6000: casys-kaist/LLMServingSim at 5daddb21, profiler/perf (vLLM 0.19 layer times, Llama-3.1-8B in
bfloat16), MIT licence; `validation` says how far they are off real runs. H200: ai-dynamo/dynamo, planner tests,
profiling_results/H200_TP1P_TP1D (vLLM, nvidia/Llama-3.1-8B-Instruct-FP8), Apache-2.0; its decode steps are 3.9 % off
that profile in the mean (17 % at worst), its prompts 2 % (10 %) besides the front end's 13 ms, and nothing was measured
of both in one step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from benchmarks.simulator.calibration import layers_in, profile_in
from benchmarks.simulator.setting import EngineKind
from benchmarks.simulator.steps import Attention, Coefficients, Steps

LAYERS = 32


@dataclass(frozen=True, slots=True)
class Named:
    """One engine: its speed, the room for KV, its scheduler's limits, and the tables it was fitted to.

    `overhead_ms` is what a step takes besides its layers; `is_profile` where whole steps were measured, not layers.
    """

    stem: str
    coefficients: Coefficients
    kv_tokens: int
    max_batched_tokens: int
    max_sequences: int
    overhead_ms: float = 0.0
    is_profile: bool = False

    def measured(self, folder: Path) -> Coefficients:
        """Its speed, fitted anew to the tables in the folder. Raises as `calibration.layers_in`."""
        if self.is_profile:
            return profile_in(folder, self.stem)
        return layers_in(
            folder, self.stem, layers=LAYERS, kv_tokens=min(self.kv_tokens, FIT_KV_TOKENS), overhead_ms=self.overhead_ms
        )


def kind_of(name: str, folder: Path | None = None, *, prefix_cache: bool = False) -> EngineKind:
    """The engine of this name, from its tables where a folder is given. Raises ValueError with the names there are."""
    named = NAMED.get(name)
    if named is None:
        raise ValueError(f"there is no engine {name!r}; take one of {', '.join(NAMED)}")
    return EngineKind(
        Steps(named.coefficients if folder is None else named.measured(folder)),
        named.kv_tokens,
        max_batched_tokens=named.max_batched_tokens,
        max_sequences=named.max_sequences,
        prefix_cache=prefix_cache,
    )


# Attention is fitted where so much KV is read at most: beyond it the tables' kernels change, and few steps are there.
FIT_KV_TOKENS = 130_000
NAMED: Mapping[str, Named] = MappingProxyType(
    {
        "rtx4090-llama3.1-8b": Named(
            stem="rtx4090_llama31-8b_bf16",
            coefficients=Coefficients(
                source="LLMServingSim 5daddb21, profiler/perf, RTX4090, Llama-3.1-8B bf16 (MIT)",
                dense_ms=(
                    (1, 15.22),
                    (16, 15.74),
                    (20, 16.73),
                    (160, 20.05),
                    (208, 23.7),
                    (256, 23.93),
                    (272, 34.35),
                    (384, 35.8),
                    (400, 41.79),
                    (512, 45.87),
                    (528, 56.7),
                    (640, 60.22),
                    (656, 64.88),
                    (768, 68.78),
                    (784, 77.98),
                    (896, 80.66),
                    (912, 88.44),
                    (1024, 90.89),
                    (1040, 102.4),
                    (1280, 113.9),
                    (1296, 123.5),
                    (1408, 125.9),
                    (1424, 133.8),
                    (1536, 136.4),
                    (1552, 146.6),
                    (2048, 181.1),
                ),
                head_ms=((1, 1.122), (16, 1.157), (20, 1.212), (80, 1.265), (192, 1.544), (208, 1.888), (256, 1.982)),
                alone=Attention(0.384, 5.72, 146.1),
                beside=Attention(0.446, 35.5, 343.9),
                chunk_us=1.24,
                pair_ns=4.21,
            ),
            # As the recorded run had it, at 0.9 of the card's memory.
            kv_tokens=41_408,
            max_batched_tokens=2048,
            max_sequences=256,
        ),
        "rtxpro6000-llama3.1-8b": Named(
            stem="rtxpro6000_llama31-8b_bf16",
            coefficients=Coefficients(
                source="LLMServingSim 5daddb21, profiler/perf, RTXPRO6000, Llama-3.1-8B bf16 (MIT)",
                dense_ms=(
                    (1, 10.14),
                    (128, 11.58),
                    (144, 12.83),
                    (256, 13.9),
                    (272, 16.29),
                    (384, 17.15),
                    (400, 21.55),
                    (512, 22.21),
                    (528, 24.2),
                    (640, 24.66),
                    (656, 31.19),
                    (768, 31.45),
                    (784, 34.57),
                    (896, 35.24),
                    (912, 39.37),
                    (1024, 39.74),
                    (1040, 44.33),
                    (1280, 46.92),
                    (1296, 52.92),
                    (1408, 53.39),
                    (1424, 61.31),
                    (1664, 62.3),
                    (1680, 66.17),
                    (1920, 68.65),
                    (1936, 76.2),
                    (2048, 76.68),
                ),
                head_ms=((1, 0.7388), (2, 0.7129), (128, 0.7981), (176, 0.922), (256, 0.9956)),
                alone=Attention(1.38, 3.4, 93.6),
                beside=Attention(1.6, 18.2, 152.2),
                chunk_us=0.65,
                pair_ns=2.09,
            ),
            # Reckoned, since the recorded run does not say: 0.9 of 102.6 GB less 16.1 GB of weights and 2.9 GB for a
            # step, at 131,072 bytes a token.
            kv_tokens=560_000,
            max_batched_tokens=2048,
            max_sequences=128,
            # So much of a step of the recorded run its layers leave unsaid; at the RTX 4090 nothing of the kind shows.
            overhead_ms=1.0,
        ),
        "h200-llama3.1-8b-fp8": Named(
            stem="h200_llama31-8b-fp8",
            coefficients=Coefficients(
                source="Dynamo planner profile, H200, Llama-3.1-8B FP8 (Apache-2.0)",
                dense_ms=((0, 4.491), (16384, 240.3)),
                head_ms=((0, 0.0), (1024, 0.0)),
                alone=Attention(0.0, 24.0, 29.04),
                beside=Attention(0.0, 24.0, 29.04),
                chunk_us=0.0,
                pair_ns=0.941,
            ),
            kv_tokens=945_029,
            max_batched_tokens=8192,
            max_sequences=1024,
            is_profile=True,
        ),
    }
)
