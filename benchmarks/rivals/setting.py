"""What a comparison is asked to be. Pure values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures.promise import Promise
from benchmarks.price import Price
from benchmarks.rivals.contender import Contender
from benchmarks.rivals.engine import Room
from benchmarks.rivals.model import Size
from benchmarks.rivals.window import Source

# Half the requests of a cloud have their first token by 0.6 s, and 95 of 100 by 1.5 s.
CLOUD_TTFT_S, CLOUD_JITTER = 0.6, 0.557


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """`capacity` in requests/s is load 1.0; None: it is measured. `stretches` of the trace make one load.

    `fake_options` are those of a fake engine instead of vLLM, whose Python is `python`.
    """

    source: Source
    stretches: int
    loads: Sequence[float]
    contenders: Sequence[Contender]
    promise: Promise
    price: Price
    room: Room
    size: Size
    most_tokens: int
    warm_s: float
    prompt_seed: int
    capacity: float | None = None
    litellm: Path | None = None
    python: Path | None = None
    fake_options: Sequence[str] | None = None

    def notes(self) -> Sequence[str]:
        """What is not as it would be, and how it was made."""
        source, size = self.source, self.size
        engine = "the fake engine" if self.fake_options is not None else "vLLM on one CPU core"
        shape = "" if self.fake_options is not None else f" (random Llama, {size.hidden} wide, {size.layers} layers)"
        return (
            f"{engine}{shape}, KV {self.room.kv_tokens:,} tokens, context {self.room.context_tokens:,}; driver, router "
            "and cloud share another core",
            f"{source.path.name} from {source.start_s:g} s: {self.stretches} x {source.seconds:g} s; prompts and "
            f"answers {source.shrink:g} times shorter; thinned to the rate, above the trace's own laid over itself",
            f"cloud: ${self.price.input_usd_per_mtok:g}/${self.price.output_usd_per_mtok:g} per million tokens, "
            f"TTFT p50 {CLOUD_TTFT_S:g} s, p95 1.5 s; its own till makes the bill",
            f"answers have the trace's lengths, and no router is told: max_tokens is {self.most_tokens} for all; "
            "min_tokens ends the engine's, seed the cloud's",
            "LiteLLM and the count have the best of their values for each load, found in the same arrivals",
        )
