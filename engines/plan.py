"""What will run where: which engine serves which model on which GPUs, with the arithmetic that led there.

Pure: wanted models, locked facts and the hardware in, a Plan out. The Plan travels to the supervisor as JSON, so it
holds nothing but values. Knows no vLLM flag.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import msgspec

from engines.errors import SpillwayError
from engines.memory.shape import Shape
from engines.snapshot import ModelView

GIB = 2**30
CPU = "cpu"


class PlanError(SpillwayError, ValueError):
    """The hardware cannot hold what is wanted. The message says what is missing and what to change."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """The environment an engine runs in: the first words of its command line."""

    name: str
    version: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sum:
    """The arithmetic of one engine, bytes on each of its GPUs. `measured` names the terms that an earlier start told;
    the others are estimates. `requests_at_once` is for requests of the full context. Beside what it takes
    `headroom_bytes` must be free when it starts, by a rule of its own."""

    weights_bytes: int = 0
    activation_bytes: int = 0
    graph_bytes: int = 0
    outside_bytes: int = 0
    kv_bytes: int = 0
    kv_tokens: int = 0
    kv_bytes_per_token: int = 0
    requests_at_once: float = 0.0
    measured: tuple[str, ...] = ()
    headroom_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """All that it takes of each of its GPUs."""
        inside_bytes = self.weights_bytes + self.activation_bytes + self.graph_bytes
        return inside_bytes + self.outside_bytes + self.kv_bytes


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """One engine: a model, a runtime and its devices. Exactly one of `gpu_uuids` and `cores` is not empty.

    `revision` is what identifies the weights, `gpu_name` the model of its GPUs. `port` is where it will listen, unless
    that is taken when it starts. `max_num_queued_reqs` is None where the engine is to queue without a limit.

    `served_name` is what the engine calls its model. One that need not be kept (`keep`) may sleep while others want its
    devices, but not before it has served for `min_residence_s`; `may_sleep`: it can hand its memory over and stay.
    What it serves when it is to end has `drain_s`. `slots`: so many requests at once, None where memory decides.
    `is_alternate`: others have its devices first, so it starts asleep and takes turns with those that need not be kept.
    """

    name: str
    kind: str
    runtime: Runtime
    model: str
    folder: str
    revision: str
    dtype: str
    device: str
    gpu_uuids: tuple[str, ...]
    gpu_name: str
    cores: tuple[int, ...]
    shape: Shape
    gpu_memory_utilization: float | None
    kv_blocks: int | None
    cpu_kv_cache_gib: int
    max_num_queued_reqs: int | None
    port: int
    extra_args: tuple[str, ...]
    sum: Sum
    served_name: str = ""
    keep: bool = True
    min_residence_s: float = 60.0
    may_sleep: bool = False
    drain_s: float = 60.0
    slots: int | None = None
    is_alternate: bool = False


@dataclass(frozen=True, slots=True)
class RouterPlan:
    """How the router process is started, where it will answer, and which variable holds the keys it wants, if any.

    `drain_s` is the time that it takes to finish what runs after TERM. `rules` are all its tables as JSON, and
    `variables` those of the environment that its stack.toml names: what the file said when it was planned from, for by
    now it may be half saved.
    """

    command: tuple[str, ...]
    host: str
    port: int
    keys_env: str | None = None
    drain_s: float = 10.0
    rules: str = ""
    variables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExternalPlan:
    """A server that somebody else runs; `url` has no `/v1`. `models`: (our name, its name), () for all it lists."""

    name: str
    url: str
    key_env: str | None = None
    models: tuple[tuple[str, str], ...] = ()
    context_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """What a plan was made from, so that another can be made when that changes."""

    config: str
    lock: str
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a supervisor is told. `fingerprint` changes whenever anything that was asked for changes; `source` is
    None for a plan that is never made anew. `without` are GPUs in quarantine, which it does without."""

    fingerprint: str
    profile: str
    engines: tuple[EnginePlan, ...]
    models: tuple[ModelView, ...]
    router: RouterPlan
    externals: tuple[ExternalPlan, ...] = ()
    source: Source | None = None
    without: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def from_json(text: str) -> Plan:
    """Read what `Plan.to_json` wrote. Raises PlanError for anything else."""
    try:
        # Python's own reader knows Infinity, which stands where a number of requests has no bound.
        return msgspec.convert(json.loads(text), Plan)
    except ValueError as error:
        raise PlanError(f"not a plan of this version: {error}. Run `spillway down`, then `spillway up`.") from error
